"""Path MTU discovery on every path of a connection: the probes, and what follows from their fate (search.py)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Path
from mqvpn.multipath.pathstate import PathState
from mqvpn.multipath.search import BASE, LARGEST_DATAGRAM, MtuSearch, Phase

PING: Final = 0x01
ETHERNET_V4, ETHERNET_V6 = 1472, 1452  # bytes of UDP payload that an MTU of 1500 leaves
PROBED: Final = (PathState.PROVING, PathState.ACTIVE)


class MtuProber:
    """Runs an MtuSearch for each validated path."""

    def __init__(
        self, outbox: Outbox, changed: Callable[[Path, int], None], hopeless: Callable[[Path], None]
    ) -> None:
        """changed: another UDP payload is proven now; hopeless: not even BASE comes through."""
        self._outbox = outbox
        self._changed = changed
        self._hopeless = hopeless
        self.max_udp_payload = LARGEST_DATAGRAM  # the peer's

    def begin(self, path: Path) -> None:
        """Find out what the path takes; what was proven before remains."""
        interface = path.largest or (ETHERNET_V6 if ":" in path.remote[0] else ETHERNET_V4)
        path.search = MtuSearch(min(interface, self.max_udp_payload), path.mtu)

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
        search.probed(size, acked)
        if search.phase is Phase.FAILED:
            self._hopeless(path)
        elif search.phase is Phase.BASE and path.mtu > BASE:
            self._changed(path, BASE)
        elif search.proven != path.mtu and search.proven:
            self._changed(path, search.proven)
