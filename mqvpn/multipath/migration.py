"""Paths whose peer shows up at another address (RFC 9000, section 9.3; draft-ietf-quic-multipath-21, section 3.1.2).

The path follows at once, and challenges go to both addresses. If the old one answers, the peer is there as before and
somebody else was faster with copies of its packets (section 9.3.3): the path goes back. From then on it does not
follow before it has fallen silent itself, which a PING finds out.
A peer that moves on purpose does so with a fresh connection ID (section 9.5), which copies never have: then an answer
from the old address is what one that is still there owes.
"""

from collections.abc import Callable
from typing import Final

from mqvpn.dataplane.engine import Connection
from mqvpn.multipath.issuance import Issuance
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Address, Path
from mqvpn.multipath.probing import Prober
from mqvpn.multipath.validation import Validation

PING: Final = b"\x01"
CHECK_INTERVAL: Final = 1.0  # seconds between two questions whether a path that was led away is where it should be


class Migration:
    """Moves the paths of one connection."""

    def __init__(
        self, connection: Connection, outbox: Outbox, issuance: Issuance, prober: Prober, tokens: Callable[[], None]
    ) -> None:
        """tokens: tells the engine the reset tokens of the connection IDs in use."""
        self._connection = connection
        self._outbox = outbox
        self._issuance = issuance
        self._prober = prober
        self._tokens = tokens

    def handle_address(self, path: Path, address: Address, fresh: bool, pto: float, now: float) -> None:
        """The peer's newest packet came from `address`, which is not the path's, fresh: to a connection ID that it did
        not use before; pto: of a path that works."""
        if fresh or (address != path.previous and not path.distrusts):
            path.moved_by_peer = fresh
            self._follow(path, address, pto, now)
        elif address != path.previous:
            self._check(path, now)
        elif not path.moved_by_peer:
            self._led_away(path)

    def handle_response(self, path: Path, data: bytes) -> bool:
        """Whether PATH_RESPONSE data came in answer to a challenge to the address that the path left."""
        if path.recall is None or not path.recall.is_answered_by(data):
            return False
        if not path.moved_by_peer:
            self._led_away(path)
        return True

    def validated(self, path: Path) -> bool:
        """The path's address is; True: it belongs to another host than the one before (section 9.4)."""
        elsewhere = path.previous is not None and path.previous.remote[0] != path.remote[0]
        path.validation = None
        self._connection.set_path(path.path_id, validated=True)
        if path.recall is None:
            self._forget(path)
        return elsewhere

    def back(self, path: Path) -> None:
        """To the address that worked, and to the connection ID that was used there."""
        if path.previous is None:
            return
        self._move(path, path.previous)
        self._connection.set_path(path.path_id, validated=True)
        cid = self._issuance.use_again(path.path_id, path.previous_cid) if path.previous_cid is not None else None
        if cid is not None:
            self._connection.set_dcid(path.path_id, cid)
            self._tokens()
        path.validation = path.previous = path.previous_cid = path.recall = None

    def handle_suspect(self, path: Path) -> None:
        """The path is silent where it is: follow the peer wherever its next packet comes from."""
        path.distrusts = False
        self._listen(path)

    def handle_timeout(self, path: Path, now: float) -> None:
        """Ask at the old address again, or not any more."""
        if path.listen_at is not None and now >= path.listen_at:
            self._listen(path)
        if path.recall is None:
            return
        if path.recall.has_failed(now):
            path.recall = None
            if path.validation is None:
                self._forget(path)
        elif path.recall.is_due(now):
            self._ask_back(path, now)

    def _led_away(self, path: Path) -> None:
        """The peer is where it was."""
        self.back(path)
        path.distrusts = True

    def _follow(self, path: Path, address: Address, pto: float, now: float) -> None:
        if path.validation is None and path.recall is None:
            path.previous, path.recall = path.address, Validation(now, pto)
            self._rotate(path)
        self._connection.set_path(path.path_id, validated=False)
        self._move(path, address)
        self._prober.validate(path, pto, now)
        if path.recall is not None and path.recall.is_due(now):
            self._ask_back(path, now)

    def _rotate(self, path: Path) -> None:
        """Go on with a fresh connection ID, so that the two addresses cannot be linked (RFC 9000, section 9.5)."""
        path.previous_cid = self._issuance.rotate(path.path_id)
        cid = self._issuance.peer.in_use(path.path_id)
        if path.previous_cid is not None and cid is not None:
            self._connection.set_dcid(path.path_id, cid)
            self._tokens()

    def _ask_back(self, path: Path, now: float) -> None:
        if path.recall is not None and path.previous is not None:
            cid = self._issuance.peer.get(path.path_id, path.previous_cid)
            if cid is not None:
                self._prober.recall(path, path.recall.challenge(now), path.previous, cid)
            else:
                path.recall.challenge(now)

    def _check(self, path: Path, now: float) -> None:
        """Is the peer where the path leads? If nothing is acknowledged there, the path becomes suspect."""
        self._outbox.put(PING, path_id=path.path_id)
        path.listen_at = now + CHECK_INTERVAL

    def _listen(self, path: Path) -> None:
        """Be told again when a packet comes from elsewhere, once."""
        path.listen_at = None
        if path.is_live and path.in_engine:
            self._move(path, path.address)

    def _move(self, path: Path, address: Address) -> None:
        path.address = address
        self._connection.set_address(path.path_id, address.socket, address.remote, address.local)

    def _forget(self, path: Path) -> None:
        """The old address is done with, and the connection ID that was used there."""
        if path.previous_cid is not None:
            self._issuance.retire(path.path_id, path.previous_cid)
        path.previous = path.previous_cid = path.recall = None
