"""The client's paths: one for each interface that can be used, opened again for as long as it can be.

An Uplink is one way to reach the server: an interface's socket and one of the server's addresses. An
interface whose path was lost is tried again after 0.5 s, doubling to 5 s, each time with its next uplink,
and at once when the machine reports a change of the interface.
"""

import logging
from dataclasses import dataclass, field

from mqvpn.multipath.connection import CannotOpenPath, MultipathConnection
from mqvpn.wire.frame import TransportErrorCode

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]

FIRST_RETRY = 0.5  # seconds
LAST_RETRY = 5.0
SILENCE_LIMIT = 15.0


@dataclass(frozen=True, slots=True)
class Uplink:
    """The server's address `remote` through the socket of `interface` ("": the kernel chooses)."""

    interface: str
    socket: int
    remote: Endpoint


@dataclass(slots=True)
class Link:
    """One interface: its usable uplinks, and the path that runs over it."""

    uplinks: tuple[Uplink, ...] = ()
    path_id: int | None = None
    established: bool = False
    silent: bool = False
    tries: int = 0
    retry_at: float = 0.0
    backoff: float = field(default=FIRST_RETRY)


class ClientPaths:
    """Keeps every usable interface on a path of `connection`, once there is one."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.connection: MultipathConnection | None = None
        self._silent_since: float | None = None

    def uplinks(self) -> list[Uplink]:
        """Every usable uplink: the first of each interface, then the second of each, and so on."""
        ways = [link.uplinks for link in self.links.values()]
        most = max(map(len, ways), default=0)
        return [way[place] for place in range(most) for way in ways if place < len(way)]

    def start(self, connection: MultipathConnection, first: Uplink) -> None:
        """`connection` is up: path 0 runs over `first`."""
        self.connection = connection
        self.links[first.interface].path_id = 0
        self.links[first.interface].established = True

    def handle_link(self, interface: str, uplinks: tuple[Uplink, ...], now: float) -> None:
        """What `interface` can be used for from now on; without uplinks its path is given up at once."""
        link = self.links.setdefault(interface, Link())
        link.uplinks = uplinks
        link.retry_at, link.backoff = now, FIRST_RETRY
        if not uplinks:
            self._abandon(link, now)

    def interface(self, path_id: int) -> str | None:
        """The interface whose path this is; None: no longer any."""
        return next((name for name, link in self.links.items() if link.path_id == path_id), None)

    def established(self, path_id: int) -> None:
        for link in self.links.values():
            if link.path_id == path_id:
                link.established, link.backoff = True, FIRST_RETRY

    def lost(self, path_id: int, now: float) -> None:
        """The path was abandoned by either end, or never came up."""
        for link in self.links.values():
            if link.path_id == path_id:
                link.path_id, link.established, link.silent = None, False, False
                link.retry_at = now + link.backoff
                link.backoff = min(2 * link.backoff, LAST_RETRY)

    def silent(self, path_id: int, now: float, *, silent: bool) -> None:
        """Nothing comes back on the path any more, or something does again."""
        for link in self.links.values():
            if link.path_id == path_id:
                link.silent = silent
        if not all(link.silent for link in self.links.values() if link.established):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now

    @property
    def give_up_at(self) -> float | None:
        """When to think the server gone, as nothing comes back on any path; None: something does."""
        return None if self._silent_since is None else self._silent_since + SILENCE_LIMIT

    def next_timeout(self) -> float | None:
        if self.connection is None or not self.connection.multipath:
            return None
        waiting = (link.retry_at for link in self.links.values() if link.uplinks and link.path_id is None)
        return min(waiting, default=None)

    def open_missing(self, now: float) -> None:
        """Open a path over every usable interface that has none and whose time has come."""
        connection = self.connection
        if connection is None or not connection.multipath:
            return
        for name, link in self.links.items():
            if not link.uplinks or link.path_id is not None or link.retry_at > now:
                continue
            uplink = link.uplinks[link.tries % len(link.uplinks)]
            link.tries += 1
            try:
                link.path_id = connection.open_path(uplink.socket, uplink.remote, None, now)
            except CannotOpenPath as error:
                log.debug("no path over %s yet: %s", name or "any interface", error)
                link.retry_at = now + link.backoff
                link.backoff = min(2 * link.backoff, LAST_RETRY)

    def _abandon(self, link: Link, now: float) -> None:
        """Give up the path of an interface that is gone, unless it is the last: that one may come back."""
        others = any(other.established for other in self.links.values() if other is not link)
        if self.connection is None or link.path_id is None or not others:
            return
        self.connection.abandon_path(link.path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR, now)
        link.path_id, link.established, link.silent = None, False, False
