"""The client's paths: one for each interface that can be used, opened again for as long as it can be.

An Uplink is one way to reach the server: an interface's socket, the address that the machine sends from there, and
one of the server's addresses. An interface whose path was lost is tried again after 0.5 s, doubling to 5 s, each time
with its next uplink, and at once when its uplinks change. When the uplink of a path is no more, but another one is, a
new path is opened over that; the old one is given up as soon as the new one works.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mqvpn.multipath.connection import CannotOpenPath, MultipathConnection
from mqvpn.multipath.events import PathAbandoned, PathAlive, PathEstablished, PathSuspect
from mqvpn.tunnel.events import PathAnswers, PathDown, PathSilent, PathUp
from mqvpn.wire.frame import TransportErrorCode

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]
PathEvent = PathEstablished | PathAbandoned | PathSuspect | PathAlive

FIRST_RETRY = 0.5  # seconds
LAST_RETRY = 5.0
SILENCE_LIMIT = 15.0  # seconds without an answer on any path before a new connection is tried
AWAKE_LIMIT = 2.0  # the same, when the machine has just slept: the server may have forgotten us meanwhile


@dataclass(frozen=True, slots=True)
class Uplink:
    """The server's address `remote` through the socket of `interface` ("": the kernel chooses).

    server: which of several it is, by its place among them. largest: bytes of UDP payload that its MTU leaves, 0: not
    known. It is the same uplink with another MTU. local: the address that packets are sent from, "": not known.
    """

    interface: str
    socket: int
    remote: Endpoint
    largest: int = field(default=0, compare=False)
    local: str = ""
    server: int = 0


@dataclass(frozen=True, slots=True)
class Role:
    """An interface's part among the others. `backup`: used when no primary works, by both ends; `weight`: of its share
    of what this end sends."""

    backup: bool = False
    weight: float = 1.0


@dataclass(slots=True)
class Link:
    """One interface: its usable uplinks, and the path that runs over it."""

    uplinks: tuple[Uplink, ...] = ()
    role: Role = Role()
    path_id: int | None = None
    uplink: Uplink | None = None  # of that path
    leaving: set[int] = field(default_factory=set)  # paths to give up when that path works
    why: str = "the interface can be used"  # the next path is opened
    established: bool = False
    silent: bool = False
    tries: int = 0
    retry_at: float = 0.0
    backoff: float = FIRST_RETRY

    def lost(self, now: float) -> None:
        """The path is no more: try another after a while."""
        self.path_id = None
        if not self.leaving:
            self.established = self.silent = False
        self.retry_at, self.why = now + self.backoff, f"{self.backoff:g} s after the last one was lost"
        self.backoff = min(2 * self.backoff, LAST_RETRY)

    @property
    def path_ids(self) -> set[int]:
        """Of the paths that run over it."""
        return self.leaving if self.path_id is None else self.leaving | {self.path_id}

    @property
    def moved(self) -> bool:
        """Whether its path runs over an uplink that is no more, while there is another."""
        return self.path_id is not None and bool(self.uplinks) and self.uplink not in self.uplinks


class ClientPaths:
    """Keeps every usable interface on a path of `connection`, once there is one."""

    def __init__(self, roles: Mapping[str, Role] | None = None) -> None:
        """roles: of interfaces by name; Role() of those not named."""
        self._roles = dict(roles or {})
        self.links: dict[str, Link] = {}
        self.connection: MultipathConnection | None = None
        self._server: int | None = None  # that it leads to
        self._silent_since: float | None = None
        self._awake_until = float("-inf")
        self._given_up: dict[int, str] = {}  # why, of paths that are being abandoned

    def uplinks(self) -> list[Uplink]:
        """Every usable uplink: the first of each interface, then the second of each, and so on; backups come last."""
        ways = [link.uplinks for link in sorted(self.links.values(), key=lambda link: link.role.backup)]
        most = max(map(len, ways), default=0)
        return [way[place] for place in range(most) for way in ways if place < len(way)]

    def backups(self) -> set[str]:
        """The interfaces that are only used when no other works."""
        return {name for name, link in self.links.items() if link.role.backup}

    def by_socket(self, socket: int) -> str:
        """The interface that this socket belongs to."""
        ways = ((name, way) for name, link in self.links.items() for way in link.uplinks)
        return next((name for name, way in ways if way.socket == socket), "")

    def start(self, connection: MultipathConnection, first: Uplink, now: float) -> None:
        """`connection` is up: path 0 runs over `first`. Other servers' addresses are no uplinks any more."""
        self.connection, self._server = connection, first.server
        for other in self.links.values():
            other.uplinks = self._leading_there(other.uplinks)
        link = self.links[first.interface]
        link.path_id, link.uplink = 0, first
        self._tell_size(link, now)
        self._give_part(link, now)

    def handle_link(self, interface: str, uplinks: tuple[Uplink, ...], now: float) -> None:
        """What `interface` can be used for from now on; without uplinks its path is given up at once."""
        link = self.links.setdefault(interface, Link(role=self._roles.get(interface, Role())))
        uplinks = self._leading_there(uplinks)
        if uplinks != link.uplinks:  # what is merely told again must not undo the waiting
            link.retry_at, link.backoff, link.why = now, FIRST_RETRY, "the interface can be used"
        link.uplinks = uplinks
        if not uplinks:
            self._abandon(link, now)
        elif link.moved and self.connection is not None and self.connection.multipath:
            link.leaving, link.path_id, link.why = link.path_ids, None, "its address has changed"
        else:
            self._tell_size(link, now)

    def set_role(self, interface: str, role: Role, now: float) -> None:
        """Change an interface's part, also while its path is in use; the server is told."""
        self._roles[interface] = role
        link = self.links.get(interface)
        if link is not None:
            link.role = role
            self._give_part(link, now)

    def interface(self, path_id: int) -> str:
        """The interface whose path this is; "": the kernel's choice, or no longer any."""
        return next((name for name, link in self.links.items() if path_id in link.path_ids), "")

    def handle_event(self, event: PathEvent, now: float) -> PathUp | PathDown | PathSilent | PathAnswers:
        """Follow what happened to a path of the connection, and say it in terms of interfaces."""
        path_id = event.path_id
        ours = ((name, link) for name, link in self.links.items() if path_id in link.path_ids)
        name, link = next(ours, ("", Link()))
        told: PathUp | PathDown | PathSilent | PathAnswers
        match event:
            case PathEstablished():
                link.established, link.silent, link.backoff = True, False, FIRST_RETRY
                self._give_up(link.leaving, "another path has taken its place", now)
                told = PathUp(path_id, name)
            case PathAbandoned(error_code=code, by_peer=by_peer):
                if path_id in link.leaving:
                    link.leaving.discard(path_id)
                else:
                    link.lost(now)
                why = self._given_up.pop(path_id, "it does not answer, or takes no large packets")
                told = PathDown(path_id, name, f"the server gave it up ({code:#x})" if by_peer else why)
            case PathSuspect():
                link.silent = True
                told = PathSilent(path_id, name)
            case PathAlive():
                link.silent = False
                told = PathAnswers(path_id, name)
        self._watch_silence(now)
        return told

    @property
    def give_up_at(self) -> float | None:
        """When to think the server gone, as nothing comes back on any path; None: something does."""
        if self._silent_since is None:
            return None
        return self._silent_since + (AWAKE_LIMIT if self._silent_since <= self._awake_until else SILENCE_LIMIT)

    def slept(self, now: float) -> None:
        """The machine has slept: ask every path at once, try again what was lost, and do not wait long for answers."""
        self._awake_until = now + AWAKE_LIMIT
        for link in self.links.values():
            link.retry_at, link.backoff = now, FIRST_RETRY
        if self.connection is not None:
            self.connection.ping_paths()

    def next_timeout(self) -> float | None:
        """When open_missing() has something to do."""
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
                link.path_id = connection.open_path(
                    uplink.socket, uplink.remote, None, now, largest=uplink.largest
                )
                link.uplink = uplink
                level = logging.INFO if link.backoff == FIRST_RETRY else logging.DEBUG
                way = f"{name or 'the default interface'} to {uplink.remote[0]}"
                log.log(level, "path %d over %s is opened: %s", link.path_id, way, link.why)
                self._give_part(link, now)
            except CannotOpenPath as error:
                log.debug("no path over %s yet: %s", name or "any interface", error)
                link.lost(now)

    def _leading_there(self, uplinks: tuple[Uplink, ...]) -> tuple[Uplink, ...]:
        """Those that lead to the connection's server; all as long as there is none."""
        return tuple(uplink for uplink in uplinks if self._server in (None, uplink.server))

    def _give_part(self, link: Link, now: float) -> None:
        """Tell the path of a link what it is. Without the extension it is the only one: there is nothing to tell."""
        connection, path_id = self.connection, link.path_id
        if connection is None or path_id is None or not connection.multipath:
            return
        if connection.paths[path_id].backup != link.role.backup:
            connection.set_path_status(path_id, link.role.backup, now)
        connection.set_path_weight(path_id, link.role.weight)

    def _tell_size(self, link: Link, now: float) -> None:
        """The MTU of the interface bounds the search for its path's."""
        for uplink in link.uplinks:
            if self.connection is not None and link.path_id is not None and uplink == link.uplink:
                self.connection.set_largest(link.path_id, uplink.largest, now)

    def _abandon(self, link: Link, now: float) -> None:
        """Give up the path of an interface that is gone, unless it is the last: that one may come back."""
        others = any(other.established for other in self.links.values() if other is not link)
        if others:
            self._give_up(link.path_ids, "the interface can no longer be used", now)

    def _give_up(self, path_ids: Iterable[int], why: str, now: float) -> None:
        """Abandon these paths; an event follows for each."""
        for path_id in list(path_ids):
            if self.connection is not None and path_id not in self._given_up:
                self._given_up[path_id] = why
                self.connection.abandon_path(path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR, now)

    def _watch_silence(self, now: float) -> None:
        silent = [link.silent for link in self.links.values() if link.established]
        if not silent or not all(silent):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
