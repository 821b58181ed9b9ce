"""Connection IDs by path (draft-ietf-quic-multipath-21, section 3.2; RFC 9000, section 5.1).

Every path ID has its own sequence numbers and its own Retire Prior To; a connection ID is unique over the
whole connection. Packets come to us with LocalIds, what we send carries PeerIds. Stateless Reset Tokens are
HMACs of the connection ID (RFC 9000, section 10.3.2): a restarted server can still reset old connections.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mqvpn.multipath.configuration import CONNECTION_ID_SIZE
from mqvpn.multipath.seam import QuicConnectionError
from mqvpn.wire.frame import FrameType, PathNewConnectionId, TransportErrorCode

ACTIVE_CONNECTION_ID_LIMIT: Final = 8  # of the peer's, per path; what aioquic announces for us
SMALLEST_RESET: Final = 21  # bytes (RFC 9000, section 10.3)


def reset_token(key: bytes, cid: bytes) -> bytes:
    """Return the 16-byte Stateless Reset Token of one of our connection IDs."""
    return hmac.digest(key, cid, "sha256")[:16]


def stateless_reset(key: bytes, datagram: bytes) -> bytes | None:
    """Return the answer to a short-header datagram of a connection we do not know; None: too small to answer.

    It is smaller than what it answers, so that two endpoints cannot reset each other for ever.
    """
    size = min(len(datagram) - 1, 43)
    if size < SMALLEST_RESET:
        return None
    noise = secrets.token_bytes(size - 16)
    return bytes([0x40 | noise[0] & 0x3F]) + noise[1:] + reset_token(key, datagram[1 : 1 + CONNECTION_ID_SIZE])


@dataclass(slots=True)
class LocalPathIds:
    """Our connection IDs of one path."""

    next_sequence: int = 0
    active: dict[int, bytes] = field(default_factory=dict)


class LocalIds:
    """The connection IDs that we issue. A path ID is in `paths` from its first one until it is dropped."""

    def __init__(self, token: Callable[[bytes], bytes]) -> None:
        self._token = token
        self.paths: dict[int, LocalPathIds] = {}

    def add_first(self, cid: bytes) -> None:
        """The connection ID of the handshake: path 0, sequence number 0."""
        self.paths[0] = LocalPathIds(next_sequence=1, active={0: cid})

    def fill(self, path_id: int, count: int) -> list[PathNewConnectionId]:
        """Make new ones until `count` are active; return what the peer must be told."""
        ids = self.paths.setdefault(path_id, LocalPathIds())
        fresh = []
        while len(ids.active) < count:
            cid = secrets.token_bytes(CONNECTION_ID_SIZE)
            fresh.append(PathNewConnectionId(path_id, ids.next_sequence, 0, cid, self._token(cid)))
            ids.active[ids.next_sequence] = cid
            ids.next_sequence += 1
        return fresh

    def next_sequence(self, path_id: int) -> int:
        """The sequence number that the next one for the path gets."""
        return self.paths.get(path_id, LocalPathIds()).next_sequence

    def is_active(self, frame: PathNewConnectionId) -> bool:
        ids = self.paths.get(frame.path_id)
        return ids is not None and frame.sequence_number in ids.active

    def retire(self, path_id: int, sequence: int) -> bytes | None:
        """The peer retires one: return it, or None if that happened before."""
        ids = self.paths.get(path_id, LocalPathIds())
        if sequence >= ids.next_sequence:
            # RFC 9000, section 19.16: "Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number
            # greater than any previously sent to the peer MUST be treated as a connection error of type
            # PROTOCOL_VIOLATION."
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION,
                FrameType.PATH_RETIRE_CONNECTION_ID,
                f"connection ID {sequence} of path {path_id} was never issued",
            )
        return ids.active.pop(sequence, None)

    def drop(self, path_id: int) -> list[bytes]:
        """Forget a path; return its connection IDs."""
        ids = self.paths.pop(path_id, None)
        return list(ids.active.values()) if ids is not None else []


class PeerId(NamedTuple):
    """One of the peer's connection IDs; without a Stateless Reset Token if it is a client's first."""

    connection_id: bytes
    stateless_reset_token: bytes


@dataclass(slots=True)
class PeerPathIds:
    """The peer's connection IDs of one path that are not retired."""

    retire_prior_to: int = 0
    next_sequence: int = 0  # one above the highest seen
    active: dict[int, PeerId] = field(default_factory=dict)
    current: int | None = None  # sequence number in use


class PeerIds:
    """The connection IDs that the peer issued to us."""

    def __init__(self) -> None:
        self._paths: dict[int, PeerPathIds] = {}
        self._by_cid: dict[bytes, tuple[int, int]] = {}

    def add_first(self, cid: bytes, token: bytes) -> None:
        """The connection ID of the handshake: path 0, sequence number 0, in use; both may be empty."""
        self._paths[0] = PeerPathIds(next_sequence=1, active={0: PeerId(cid, token)}, current=0)
        self._by_cid[cid] = (0, 0)

    def add(self, frame: PathNewConnectionId) -> list[int]:
        """Take a new one; return the sequence numbers that must be retired in turn."""
        ids = self._paths.setdefault(frame.path_id, PeerPathIds())
        place = (frame.path_id, frame.sequence_number)
        issued = PeerId(frame.connection_id, frame.stateless_reset_token)
        # RFC 9000, section 19.15: "An endpoint that is sending packets with a zero-length Destination Connection
        # ID MUST treat receipt of a NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION."
        if b"" in self._by_cid:
            raise _refused(TransportErrorCode.PROTOCOL_VIOLATION, "connection IDs are not in use")
        # The same section: the same sequence number with another connection ID or token, or the same
        # connection ID with another sequence number, is a PROTOCOL_VIOLATION.
        known = ids.active.get(frame.sequence_number, issued)
        if self._by_cid.get(frame.connection_id, place) != place or known != issued:
            raise _refused(TransportErrorCode.PROTOCOL_VIOLATION, "connection ID issued twice")
        ids.next_sequence = max(ids.next_sequence, frame.sequence_number + 1)
        ids.retire_prior_to = max(ids.retire_prior_to, frame.retire_prior_to)
        retired = [sequence for sequence in ids.active if sequence < ids.retire_prior_to]
        for sequence in retired:
            self._remove(ids, sequence)
        if frame.sequence_number < ids.retire_prior_to:
            return sorted({*retired, frame.sequence_number})
        ids.active[frame.sequence_number] = issued
        self._by_cid[frame.connection_id] = place
        if len(ids.active) > ACTIVE_CONNECTION_ID_LIMIT:
            raise _refused(TransportErrorCode.CONNECTION_ID_LIMIT_ERROR, "too many connection IDs")
        return retired

    def in_use(self, path_id: int) -> bytes | None:
        """The one that the path sends with; None: it was retired, or the path is not open."""
        ids = self._paths.get(path_id)
        if ids is None or ids.current is None:
            return None
        return ids.active[ids.current].connection_id

    def take(self, path_id: int) -> bytes | None:
        """The one to send with from now on: the one in use, else an unused one; None: there is none."""
        ids = self._paths.get(path_id)
        if ids is not None and ids.current is None and ids.active:
            ids.current = min(ids.active)
        return self.in_use(path_id)

    def rotate(self, path_id: int) -> int | None:
        """Use another one and keep the one in use, whose sequence number is returned; None: there is no other."""
        ids = self._paths.get(path_id)
        if ids is None or ids.current is None or len(ids.active) < 2:
            return None
        kept = ids.current
        ids.current = min(sequence for sequence in ids.active if sequence != kept)
        return kept

    def use(self, path_id: int, sequence: int) -> int | None:
        """Use this one; return the sequence number of the one before, None: it is gone."""
        ids = self._paths.get(path_id)
        if ids is None or sequence not in ids.active:
            return None
        left, ids.current = ids.current, sequence
        return left

    def remove(self, path_id: int, sequence: int) -> bool:
        """Forget this one; False: it is gone already."""
        ids = self._paths.get(path_id)
        if ids is None or sequence not in ids.active:
            return False
        self._remove(ids, sequence)
        return True

    def get(self, path_id: int, sequence: int | None) -> bytes | None:
        """The one with this number, the one in use for None; None: there is no such."""
        ids = self._paths.get(path_id)
        number = sequence if ids is None or sequence is not None else ids.current
        if ids is None or number is None or number not in ids.active:
            return None
        return ids.active[number].connection_id

    def has_any(self, path_id: int) -> bool:
        ids = self._paths.get(path_id)
        return ids is not None and bool(ids.active)

    def next_sequence(self, path_id: int) -> int:
        """The sequence number that the peer would issue next for the path."""
        ids = self._paths.get(path_id)
        return ids.next_sequence if ids is not None else 0

    def tokens(self) -> list[bytes]:
        """The Stateless Reset Tokens that end the connection: those of the connection IDs in use."""
        return [
            ids.active[ids.current].stateless_reset_token
            for ids in self._paths.values()
            if ids.current is not None and ids.active[ids.current].stateless_reset_token
        ]

    def drop(self, path_id: int) -> None:
        """The path was abandoned: all its connection IDs are retired without a frame (section 3.4)."""
        ids = self._paths.pop(path_id, PeerPathIds())
        for issued in ids.active.values():
            del self._by_cid[issued.connection_id]

    def _remove(self, ids: PeerPathIds, sequence: int) -> None:
        del self._by_cid[ids.active.pop(sequence).connection_id]
        if ids.current == sequence:
            ids.current = None


def _refused(code: TransportErrorCode, reason: str) -> QuicConnectionError:
    return QuicConnectionError(code, FrameType.PATH_NEW_CONNECTION_ID, reason)
