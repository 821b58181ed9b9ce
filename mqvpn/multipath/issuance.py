"""The frames that carry connection IDs, both ways (draft-ietf-quic-multipath-21, sections 3.2, 4.4 and 4.5).

Each unused path ID gets spares as soon as both ends allow it, each path in use one more. With a peer that
does not speak the extension only path 0 exists, by NEW_CONNECTION_ID and RETIRE_CONNECTION_ID of RFC 9000.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from mqvpn.dataplane.engine import Connection
from mqvpn.multipath.cids import LocalIds, PeerIds
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.seam import QuicConnectionError
from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.frame import (
    FrameType,
    PathCidsBlocked,
    PathNewConnectionId,
    PathRetireConnectionId,
    TransportErrorCode,
    write_frame,
)

NEW_CONNECTION_ID: Final = 0x18
RETIRE_CONNECTION_ID: Final = 0x19
SPARES: Final = 2  # for each path ID that is not in use
MAX_RETIRING: Final = 32  # RETIRE frames under way; aioquic's limit too (RFC 9000, section 5.1.2)


def read_new_connection_id(source: Reader) -> PathNewConnectionId:
    """Read the fields of NEW_CONNECTION_ID (RFC 9000, section 19.15), which is about path 0."""
    try:
        return PathNewConnectionId(0, source.varint(), source.varint(), source.take(source.uint8()), source.take(16))
    except ValueError as error:
        raise DecodeError(str(error)) from error


class Issuance:
    """Issues our connection IDs and takes the peer's."""

    def __init__(self, connection: Connection, outbox: Outbox, token: Callable[[bytes], bytes]) -> None:
        self._connection = connection
        self._outbox = outbox
        self._retiring: set[tuple[int, int]] = set()
        self.local = LocalIds(token)
        self.peer = PeerIds()
        self.multipath = False  # which frames to use
        self.peer_limit = 2  # the peer's active_connection_id_limit, per path

    # Ours

    def add_first(self, cid: bytes) -> None:
        """Our connection ID of the handshake."""
        self.local.add_first(cid)
        self._connection.add_cid(cid, 0, 0)

    def issue(self, path_id: int, *, in_use: bool) -> None:
        """See that the peer has enough of ours for the path."""
        count = min(self.peer_limit, SPARES + in_use)
        for frame in self.local.fill(path_id, count):
            self._connection.add_cid(frame.connection_id, path_id, frame.sequence_number)
            self._outbox.keep_sending(partial(self._encode, frame))

    def allow_paths(self, limit: int) -> None:
        """Our limit on path IDs: what names one above it breaks the protocol."""
        self._connection.set_path_limit(limit)

    def handle_retire(self, path_id: int, sequence: int, *, in_use: bool) -> None:
        """The peer will not use one of ours any more: replace it."""
        cid = self.local.retire(path_id, sequence)
        if cid is not None:
            self._connection.del_cid(cid)
            self.issue(path_id, in_use=in_use)

    def handle_blocked(self, frame: PathCidsBlocked, *, in_use: bool) -> None:
        """PATH_CIDS_BLOCKED (section 4.7): check it, and issue what is missing."""
        if frame.next_sequence_number > self.local.next_sequence(frame.path_id):
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION,
                FrameType.PATH_CIDS_BLOCKED,
                "expects a connection ID beyond the next one",
            )
        if frame.path_id in self.local.paths:
            self.issue(frame.path_id, in_use=in_use)

    # The peer's

    def handle_new(self, frame: PathNewConnectionId) -> bool:
        """Take a connection ID; return whether the one in use on its path was retired by it."""
        was_used = self.peer.in_use(frame.path_id) is not None
        for sequence in self.peer.add(frame):
            self._retire(frame.path_id, sequence)
        return was_used and self.peer.in_use(frame.path_id) is None

    def rotate(self, path_id: int) -> int | None:
        """Send with another connection ID; the sequence number of the one before, which is kept until retire() or
        use_again(); None: there is no other one."""
        return self.peer.rotate(path_id)

    def use_again(self, path_id: int, sequence: int) -> bytes | None:
        """Back to one that is kept, and retire the one in use; None: the peer retired it meanwhile."""
        left = self.peer.use(path_id, sequence)
        if left is not None:
            self.retire(path_id, left)
        return self.peer.get(path_id, sequence)

    def retire(self, path_id: int, sequence: int) -> None:
        """One that is kept will not be used again."""
        if self.peer.remove(path_id, sequence):
            self._retire(path_id, sequence)

    def drop_path(self, path_id: int) -> None:
        """The path is forgotten: packets with our connection IDs for it are strangers from now on."""
        for cid in self.local.drop(path_id):
            self._connection.del_cid(cid)

    def send_blocked(self, path_id: int) -> None:
        """Tell the peer that we lack a connection ID for the path."""
        frame = PathCidsBlocked(path_id, self.peer.next_sequence(path_id))
        self._outbox.put(encode(frame))

    def _retire(self, path_id: int, sequence: int) -> None:
        place = (path_id, sequence)
        self._retiring.add(place)
        if len(self._retiring) > MAX_RETIRING:
            raise QuicConnectionError(
                TransportErrorCode.CONNECTION_ID_LIMIT_ERROR,
                FrameType.PATH_NEW_CONNECTION_ID,
                "too many connection IDs to retire",
            )
        self._send_retirement(place)

    def _send_retirement(self, place: tuple[int, int]) -> None:
        def delivered(acked: bool) -> None:
            if acked:
                self._retiring.discard(place)
            else:
                self._send_retirement(place)

        self._outbox.put(self._encode_retirement(*place), delivered)

    def _encode(self, frame: PathNewConnectionId) -> bytes | None:
        """The frame as it goes out; None once the peer has retired it or the path is gone."""
        if not self.local.is_active(frame):
            return None
        if self.multipath:
            return encode(frame)
        out = Writer()
        out.varint(NEW_CONNECTION_ID)
        out.varint(frame.sequence_number)
        out.varint(frame.retire_prior_to)
        out.uint8(len(frame.connection_id))
        out.write(frame.connection_id)
        out.write(frame.stateless_reset_token)
        return bytes(out)

    def _encode_retirement(self, path_id: int, sequence: int) -> bytes:
        if self.multipath:
            return encode(PathRetireConnectionId(path_id, sequence))
        out = Writer()
        out.varint(RETIRE_CONNECTION_ID)
        out.varint(sequence)
        return bytes(out)


def encode(frame: PathCidsBlocked | PathNewConnectionId | PathRetireConnectionId) -> bytes:
    """Return the frame's bytes."""
    out = Writer()
    write_frame(out, frame)
    return bytes(out)
