"""The paths of one connection: opened, validated, proven, abandoned, forgotten.

Only the client opens paths; both ends validate them (draft-ietf-quic-multipath-21, section 3.1). Path IDs are
never reused: one can be used from the moment our connection IDs for it exist until its path is forgotten.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from mqvpn.dataplane.engine import OVERHEAD, Connection
from mqvpn.multipath.events import (
    MtuChanged,
    PathAbandoned,
    PathAlive,
    PathEstablished,
    PathSuspect,
)
from mqvpn.multipath.issuance import Issuance
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Address, Path
from mqvpn.multipath.pathstate import PathInput, PathState
from mqvpn.multipath.probing import Prober
from mqvpn.multipath.seam import QuicEvent
from mqvpn.multipath.validation import INITIAL_PTO, SMALLEST_MTU
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import PathAbandon, PathStatus, TransportErrorCode, write_frame

MAX_VALIDATIONS: Final = 4  # at a time (section 7.2)
NOWHERE: Final = Address(-1, ("", 0), None)  # of a path that was abandoned before it was used


class Paths:
    """Path IDs and the paths that use them."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        issuance: Issuance,
        emit: Callable[[QuicEvent], None],
        forgotten: Callable[[], None],
    ) -> None:
        """emit: takes events; forgotten: is called when a path ID is done with."""
        self._connection = connection
        self._outbox = outbox
        self._issuance = issuance
        self._emit = emit
        self._forgotten = forgotten
        self._peer_statuses: dict[int, PathStatus] = {}
        self._mtu = 0
        self.prober = Prober(outbox, self._proven, self._hopeless)
        self.table: dict[int, Path] = {}

    # What is there

    def is_used(self, path_id: int) -> bool:
        return path_id in self.table

    def unused(self) -> Iterator[int]:
        """The IDs that a client may open, smallest first."""
        return (path_id for path_id in sorted(self._issuance.local.paths) if path_id not in self.table)

    def has_sender(self) -> bool:
        """Whether frames for any path can be sent now."""
        return any(path.state in (PathState.PROVING, PathState.ACTIVE) for path in self.table.values())

    def has_live(self) -> bool:
        return any(path.is_live for path in self.table.values())

    def inner_mtu(self) -> int:
        """The largest IP packet that every usable path takes; 0: none is usable."""
        sizes = [path.mtu for path in self.table.values() if path.is_usable]
        return min(sizes) - OVERHEAD if sizes else 0

    # Opening

    def open_first(self, address: Address, mtu: int) -> None:
        """Path 0: the handshake validated it, and its padded datagrams proved `mtu`."""
        path = self.table[0] = Path(0, address)
        path.apply(PathInput.HANDSHAKE)
        self._enter(path)
        self._connection.set_path(0, validated=True, usable=True)
        self._emit(PathEstablished(0))
        self._proven(path, mtu)

    def open(self, path_id: int, address: Address, now: float) -> None:
        """Begin to use an unused path ID."""
        path = self.table[path_id] = Path(path_id, address)
        if path_id in self._peer_statuses:
            path.peer_backup = self._peer_statuses[path_id].backup
        self.advance(now)

    def advance(self, now: float) -> None:
        """Take further what waits for a connection ID or for its turn."""
        running = sum(path.validation is not None for path in self.table.values())
        for path in self.table.values():
            if path.state is not PathState.OPENING:
                continue
            if not path.in_engine and not self._enter(path):
                continue
            if running < MAX_VALIDATIONS:
                running += 1
                path.apply(PathInput.CHALLENGED)
                self._validate(path, now)

    def _enter(self, path: Path) -> bool:
        """Hand the path to the engine, if the peer gave a connection ID for it."""
        cid = self._issuance.peer.take(path.path_id)
        if cid is None:
            return False
        self._connection.open_path(path.path_id, path.socket, path.remote, path.local, cid)
        path.in_engine = True
        self.set_reset_tokens()
        self._set_backup(path)
        self._issuance.issue(path.path_id, in_use=True)
        return True

    def set_reset_tokens(self) -> None:
        """Tell the engine which Stateless Reset Tokens end the connection."""
        self._connection.set_reset_tokens(self._issuance.peer.tokens())

    def replace_cid(self, path_id: int) -> None:
        """The peer retired the connection ID in use: go on with another one."""
        path = self.table.get(path_id)
        if path is None or not path.in_engine or not path.is_live:
            return
        cid = self._issuance.peer.take(path_id)
        if cid is None:
            self._issuance.send_blocked(path_id)
            return
        self._connection.set_dcid(path_id, cid)
        self.set_reset_tokens()

    # Validation

    def handle_challenge(self, path_id: int, data: bytes) -> None:
        """Remember a PATH_CHALLENGE until answer_challenges(): many in one packet must not draw as many answers."""
        path = self.table.get(path_id)
        if path is not None and path.is_live:
            path.add_challenge(data)

    def answer_challenges(self) -> None:
        """Answer on the path each came on, once that can be sent on."""
        for path in self.table.values():
            if path.challenges and path.in_engine and path.is_live:
                self.prober.answer(path)

    def handle_response(self, path_id: int, data: bytes, now: float) -> None:
        """A PATH_RESPONSE validates the path that its challenge was sent on, and no other."""
        path = self.table.get(path_id)
        if path is None or path.validation is None or not path.validation.is_answered_by(data):
            return
        path.validation = path.previous = None
        self._connection.set_path(path_id, validated=True)
        if path.state is PathState.VALIDATING:
            path.apply(PathInput.RESPONSE)
            self.prober.prove(path)
        self.advance(now)

    def handle_address(self, path_id: int, address: Address, now: float) -> None:
        """The peer's packets come from elsewhere (RFC 9000, section 9.3): follow, and validate that."""
        path = self.table.get(path_id)
        if path is None or not path.in_engine or not path.is_live or address == path.address:
            return
        if path.state is not PathState.VALIDATING and path.previous is None:
            path.previous = path.address
        self._move(path, address)
        self._connection.set_path(path_id, validated=False)
        self._validate(path, now)

    def _move(self, path: Path, address: Address) -> None:
        # RFC 9000, section 9.4: congestion controller and RTT estimate may stay if only the port changed.
        reset = address.remote[0] != path.remote[0]
        path.address = address
        self._connection.set_address(path.path_id, address.socket, address.remote, address.local, reset=reset)

    def _validate(self, path: Path, now: float) -> None:
        working = [other.path_id for other in self.table.values() if other.is_usable]
        ptos = [self._connection.path(path_id).pto for path_id in working]
        self.prober.validate(path, min(ptos, default=INITIAL_PTO), now)

    def _give_up(self, path: Path) -> None:
        """Validation failed: back to the address that worked, else the path is abandoned (section 3.1)."""
        path.validation = None
        if path.previous is not None:
            self._move(path, path.previous)
            path.previous = None
            self._connection.set_path(path.path_id, validated=True)
        else:
            self.abandon(path.path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR)

    def _proven(self, path: Path, mtu: int) -> None:
        path.mtu = mtu
        self._connection.set_path(path.path_id, mtu=mtu)
        if path.state is PathState.PROVING and mtu >= SMALLEST_MTU:
            path.apply(PathInput.MTU_PROVEN)
            self._connection.set_path(path.path_id, usable=True)
            self._emit(PathEstablished(path.path_id))
        self._notice_mtu()

    def _hopeless(self, path: Path) -> None:
        self.abandon(path.path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR)

    def _notice_mtu(self) -> None:
        mtu = self.inner_mtu()
        if mtu != self._mtu:
            self._mtu = mtu
            self._emit(MtuChanged(mtu))

    # Status

    def set_status(self, path_id: int, *, backup: bool) -> None:
        """Ask the peer to send on this path, or only when no other works (section 3.3)."""
        path = self.table[path_id]
        path.backup = backup
        self._set_backup(path)
        path.status_sequence += 1
        self._outbox.keep_sending(partial(self._encode_status, path, path.status_sequence))

    def handle_status(self, status: PathStatus) -> None:
        """Note what the peer prefers; an older frame that comes late changes nothing."""
        known = self._peer_statuses.get(status.path_id)
        if known is not None and known.sequence_number >= status.sequence_number:
            return
        self._peer_statuses[status.path_id] = status
        path = self.table.get(status.path_id)
        if path is not None and path.is_live:
            path.peer_backup = status.backup
            self._set_backup(path)

    def _set_backup(self, path: Path) -> None:
        if path.in_engine:
            self._connection.set_path(path.path_id, backup=path.backup or path.peer_backup)

    def _encode_status(self, path: Path, sequence: int) -> bytes | None:
        if not path.is_live or sequence != path.status_sequence:
            return None
        return encode(PathStatus(path.path_id, sequence, path.backup))

    def handle_suspect(self, path_id: int, now: float) -> None:
        """The engine found that a path does not answer."""
        path = self.table.get(path_id)
        if path is not None and path.is_live and not path.is_suspect:
            path.suspect_since = now
            self._emit(PathSuspect(path_id))

    def handle_alive(self, path_id: int, now: float) -> None:
        """A suspect path answers again."""
        path = self.table.get(path_id)
        if path is not None and path.is_live and path.is_suspect:
            path.suspect_since = None
            self._emit(PathAlive(path_id))

    # Abandoning

    def abandon(self, path_id: int, error_code: int) -> None:
        """Leave a path for good and tell the peer, over another path if there is one (section 3.4)."""
        path = self.table[path_id]
        if path.is_live:
            self._leave(path, error_code, by_peer=False)

    def handle_abandon(self, frame: PathAbandon, now: float) -> None:
        """The peer leaves a path, or answers that we did: forget it three probe timeouts later."""
        path = self.table.get(frame.path_id)
        if path is None:  # never used, and never will be
            path = self.table[frame.path_id] = Path(frame.path_id, NOWHERE)
        if path.is_live:
            self._leave(path, frame.error_code, by_peer=True)
        if path.drain_at is None:
            path.drain_at = now + 3 * self._connection.largest_pto()

    def _leave(self, path: Path, error_code: int, *, by_peer: bool) -> None:
        path.apply(PathInput.ABANDON)
        path.validation = path.proof = None
        self._outbox.discard(path.path_id)
        if path.in_engine:
            self._connection.abandon_path(path.path_id)
        self._issuance.peer.drop(path.path_id)
        self.set_reset_tokens()
        code = TransportErrorCode.NO_ERROR if by_peer else error_code
        self._outbox.keep_sending(lambda: encode(PathAbandon(path.path_id, code)))
        self._emit(PathAbandoned(path.path_id, error_code, by_peer))
        self._notice_mtu()

    def _forget(self, path: Path) -> None:
        path.apply(PathInput.DRAINED)
        if path.in_engine:
            self._connection.forget_path(path.path_id)
        self._issuance.drop_path(path.path_id)
        self._peer_statuses.pop(path.path_id, None)
        del self.table[path.path_id]
        self._forgotten()

    # Time

    def next_timeout(self) -> float | None:
        """When handle_timeout() is due."""
        return min((at for path in self.table.values() if (at := path.next_timeout()) is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Challenge again, give up, forget."""
        for path in list(self.table.values()):
            if path.drain_at is not None and now >= path.drain_at:
                self._forget(path)
            elif path.validation is not None and path.validation.has_failed(now):
                self._give_up(path)
            elif path.validation is not None and path.validation.is_due(now):
                self.prober.challenge(path, now)
        self.advance(now)


def encode(frame: PathAbandon | PathStatus) -> bytes:
    """Return the frame's bytes."""
    out = Writer()
    write_frame(out, frame)
    return bytes(out)
