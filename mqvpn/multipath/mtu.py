"""Path MTU discovery on every path of a connection: the probes, and what follows from their fate (search.py)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Endpoint, Path
from mqvpn.multipath.pathstate import PathState
from mqvpn.multipath.search import BASE, LARGEST_DATAGRAM, MtuSearch, Phase

PING: Final = 0x01
ETHERNET: Final = 1500  # bytes: the MTU of an interface of which nothing is known
JUMBO: Final = 9216  # bytes: a larger MTU is that of no real link, but of loopback
HEADERS: Final = {4: 28, 6: 48}  # bytes of IP and UDP
PROBED: Final = (PathState.PROVING, PathState.ACTIVE)


Towards = Callable[[Endpoint, Endpoint | None], int]


def udp_payload(mtu: int, remote: str) -> int:
    """Bytes of UDP payload that an interface of this MTU takes towards the address `remote`."""
    return min(mtu, JUMBO) - HEADERS[6 if ":" in remote else 4]


def unknown(remote: Endpoint, local: Endpoint | None) -> int:
    """A Towards of those who do not know their interfaces."""
    return udp_payload(ETHERNET, remote[0])


class MtuProber:
    """Runs an MtuSearch for each validated path."""

    def __init__(
        self,
        outbox: Outbox,
        towards: Towards,
        changed: Callable[[Path, int], None],
        hopeless: Callable[[Path], None],
    ) -> None:
        """towards: bytes of UDP payload that the interface takes by which packets to `remote` leave; asked for paths
        whose `largest` is not told. changed: another UDP payload is proven now, or the one that was in doubt; hopeless:
        not even BASE comes through.
        """
        self._outbox = outbox
        self._towards = towards
        self._changed = changed
        self._hopeless = hopeless
        self.max_udp_payload = LARGEST_DATAGRAM  # the peer's

    def begin(self, path: Path) -> None:
        """Find out what the path takes; what was proven before remains."""
        path.search = MtuSearch(self._largest(path), path.mtu)

    def limit(self, path: Path) -> None:
        """The path's interface may have another MTU now."""
        search = path.search
        if search is None:
            return
        search.limit(self._largest(path))
        if search.phase is Phase.FAILED:
            self._hopeless(path)
        elif 0 < search.proven < path.mtu:
            self._changed(path, search.proven)

    def _largest(self, path: Path) -> int:
        return min(path.largest or self._towards(path.remote, path.local), self.max_udp_payload)

    def advance(self, paths: Iterable[Path], now: float) -> None:
        """Send the probes that are due."""
        for path in list(paths):
            search = path.search
            if search is None or path.state not in PROBED or path.is_suspect or path.validation is not None:
                continue
            if size := search.next_probe(now):
                self._outbox.put(
                    bytes([PING]),
                    partial(self._probed, path, search, size),
                    path_id=path.path_id,
                    pad_to=size,
                    mtu_probe=True,
                )
                self._outbox.put(bytes([PING]), path_id=path.path_id)  # whose arrival tells a loss from silence
            elif path.state is PathState.PROVING and search.is_known and search.proven:
                self._changed(path, search.proven)

    def _probed(self, path: Path, search: MtuSearch, size: int, acked: bool) -> None:
        if path.search is not search or not path.is_live:
            return
        doubtful = search.in_doubt
        search.probed(size, acked)
        if search.phase is Phase.FAILED:
            self._hopeless(path)
        elif search.phase is Phase.BASE and path.mtu > BASE:
            self._changed(path, BASE)
        elif search.proven and (search.proven != path.mtu or (doubtful and not search.in_doubt)):
            self._changed(path, search.proven)
