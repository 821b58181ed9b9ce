"""The paths of one connection: opened, validated, proven, abandoned, forgotten.

Only the client opens paths; both ends validate them (draft-ietf-quic-multipath-21, section 3.1). Path IDs are
never reused: one can be used from the moment our connection IDs for it exist until its path is forgotten.
"""

from collections.abc import Callable, Iterator
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
from mqvpn.multipath.migration import Migration
from mqvpn.multipath.mtu import MtuProber, Towards
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Address, Path
from mqvpn.multipath.pathstate import PathInput, PathState
from mqvpn.multipath.probing import Prober
from mqvpn.multipath.seam import QuicEvent
from mqvpn.multipath.search import BASE
from mqvpn.multipath.status import Statuses
from mqvpn.multipath.validation import INITIAL_PTO
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import PathAbandon, PathStatus, TransportErrorCode, write_frame

MAX_VALIDATIONS: Final = 4  # at a time (section 7.2)
PING: Final = b"\x01"
NOWHERE: Final = Address(-1, ("", 0), None)  # of a path that was abandoned before it was used


class Paths:
    """Path IDs and the paths that use them."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        issuance: Issuance,
        towards: Towards,
        emit: Callable[[QuicEvent], None],
        forgotten: Callable[[], None],
    ) -> None:
        """towards: see MtuProber; emit: takes events; forgotten: is called when a path ID is done with."""
        self._connection = connection
        self._outbox = outbox
        self._issuance = issuance
        self._emit = emit
        self._forgotten = forgotten
        self._statuses = Statuses(outbox, self._set_part)
        self._mtu = 0
        self.prober = Prober(outbox)
        self._migration = Migration(connection, outbox, issuance, self.prober, self.set_reset_tokens)
        self.mtu = MtuProber(outbox, towards, self._proven, self._hopeless)
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

    def open_first(self, address: Address, mtu: int, largest: int) -> None:
        """Path 0: the handshake validated it, and its padded datagrams proved `mtu`."""
        path = self.table[0] = Path(0, address, largest=largest)
        path.apply(PathInput.HANDSHAKE)
        self._enter(path)
        self._connection.set_path(0, validated=True, usable=True)
        self._emit(PathEstablished(0))
        self._proven(path, mtu)

    def open(self, path_id: int, address: Address, now: float, largest: int) -> None:
        """Begin to use an unused path ID; largest: UDP payload that its interface takes, 0: not known."""
        path = self.table[path_id] = Path(path_id, address, largest=largest)
        self._statuses.opened(path)
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
                self.prober.validate(path, self._working_pto(), now)

    def _enter(self, path: Path) -> bool:
        """Hand the path to the engine, if the peer gave a connection ID for it."""
        cid = self._issuance.peer.take(path.path_id)
        if cid is None:
            return False
        self._connection.open_path(path.path_id, path.socket, path.remote, path.local, cid)
        path.in_engine = True
        self.set_reset_tokens()
        self._set_part(path)
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
        if path is None:
            return
        if self._migration.handle_response(path, data):
            self._doubt_mtu(path)
            return
        if path.validation is None or not path.validation.is_answered_by(data):
            return
        elsewhere = self._migration.validated(path)
        if path.state is PathState.VALIDATING:
            path.apply(PathInput.RESPONSE)
            self.mtu.begin(path)
        elif elsewhere:
            # RFC 9000, section 9.4: "On confirming a peer's ownership of its new address, an endpoint MUST
            # immediately reset the congestion controller and round-trip time estimator for the new path",
            # "unless the only change in the peer's address is its port number".
            self._connection.restart_path(path_id)
            self._doubt_mtu(path)
        self.advance(now)

    def handle_address(self, path_id: int, address: Address, fresh: bool, now: float) -> None:
        """The peer's packets come from elsewhere (RFC 9000, section 9.3), fresh: to another of our connection IDs."""
        path = self.table.get(path_id)
        if path is not None and path.in_engine and path.is_live and address != path.address:
            self._migration.handle_address(path, address, fresh, self._working_pto(), now)

    def _working_pto(self) -> float:
        """Of the best path that works, in seconds."""
        working = [other.path_id for other in self.table.values() if other.is_usable]
        ptos = [self._connection.path(path_id).pto for path_id in working]
        return min(ptos, default=INITIAL_PTO)

    def _give_up(self, path: Path) -> None:
        """Validation failed: back to the address that worked, else the path is abandoned (section 3.1)."""
        if path.previous is not None:
            self._migration.back(path)
        else:
            path.validation = None
            self.abandon(path.path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR)

    def _proven(self, path: Path, mtu: int) -> None:
        path.mtu = mtu
        in_doubt = path.search is not None and path.search.in_doubt
        self._connection.set_path(path.path_id, mtu=mtu, narrow=None if in_doubt else False)
        if path.state is PathState.PROVING and self._fits(path):
            path.apply(PathInput.MTU_PROVEN)
            self._connection.set_path(path.path_id, usable=True)
            self._emit(PathEstablished(path.path_id))
        self._notice_mtu()

    def _fits(self, path: Path) -> bool:
        """Whether the path may carry IP packets: it does not make the MTU of all fall because its search has only
        begun."""
        if path.mtu < BASE:
            return False
        return path.mtu >= self.inner_mtu() + OVERHEAD or path.search is None or path.search.is_known

    def _hopeless(self, path: Path) -> None:
        self.abandon(path.path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR)

    def _doubt_mtu(self, path: Path) -> None:
        self.mtu.limit(path)
        if path.search is not None:
            path.search.doubt()
        if path.in_engine and (path.search is None or not path.search.in_doubt):
            self._connection.set_path(path.path_id, narrow=False)

    def set_largest(self, path_id: int, largest: int, now: float) -> None:
        """The MTU of the path's interface leaves so many bytes of UDP payload now."""
        path = self.table.get(path_id)
        if path is not None and path.is_live:
            path.largest = largest
            self.mtu.limit(path)
            self.mtu.advance([path], now)

    def handle_large_lost(self, path_id: int, now: float) -> None:
        """Large packets were lost one after another, small ones were not (RFC 8899, section 4.3). The engine avoids
        the path until we tell."""
        path = self.table.get(path_id)
        if path is not None and path.is_live:
            self._doubt_mtu(path)

    def _notice_mtu(self) -> None:
        mtu = self.inner_mtu()
        if mtu != self._mtu:
            self._mtu = mtu
            self._emit(MtuChanged(mtu))

    def ping(self) -> None:
        """Send a PING on every path in use: one that does not answer becomes suspect."""
        for path in self.table.values():
            if path.state is PathState.ACTIVE:
                self._outbox.put(PING, path_id=path.path_id)

    # Status

    def set_status(self, path_id: int, *, backup: bool) -> None:
        """Prefer or avoid a path, in both directions; raises KeyError if there is none with this ID."""
        self._statuses.set(self.table[path_id], backup=backup)

    def handle_status(self, status: PathStatus) -> None:
        """The peer prefers or avoids a path."""
        self._statuses.handle(status, self.table.get(status.path_id))

    def set_weight(self, path_id: int, weight: float) -> None:
        """Scale the path's share of what we send; raises KeyError if there is none with this ID."""
        self.table[path_id].weight = weight
        self._set_part(self.table[path_id])

    def _set_part(self, path: Path) -> None:
        if path.in_engine:
            backup = path.backup or path.peer_backup
            self._connection.set_path(path.path_id, backup=backup, weight=path.weight)

    def handle_suspect(self, path_id: int, now: float) -> None:
        """The engine found that a path does not answer."""
        path = self.table.get(path_id)
        if path is not None and path.is_live and not path.is_suspect:
            path.suspect_since = now
            self._migration.handle_suspect(path)
            self._emit(PathSuspect(path_id))

    def handle_alive(self, path_id: int, now: float) -> None:
        """A suspect path answers again."""
        path = self.table.get(path_id)
        if path is not None and path.is_live and path.is_suspect:
            path.suspect_since = None
            self._doubt_mtu(path)
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
        path.validation = path.search = path.recall = None
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
        self._statuses.forget(path.path_id)
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
            self._migration.handle_timeout(path, now)
        self.advance(now)


def encode(frame: PathAbandon) -> bytes:
    """Return the frame's bytes."""
    out = Writer()
    write_frame(out, frame)
    return bytes(out)
