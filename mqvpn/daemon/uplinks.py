"""The client's sockets, one for each path interface, and by which of them the server can be reached now.

An interface may be absent at start and come and go later: its socket is opened when it appears, and opened
anew when another interface took its name, for SO_BINDTODEVICE means the one that was there. Its MTU, less the
headers, is what path MTU discovery searches below.
"""

import itertools
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from mqvpn.config.values import is_pattern
from mqvpn.daemon.eventlog import event
from mqvpn.daemon.interfaces import chosen, means
from mqvpn.daemon.passed import Passed
from mqvpn.daemon.pump import Pump
from mqvpn.multipath.mtu import HEADERS, udp_payload
from mqvpn.multipath.search import BASE
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Interface, Netlink
from mqvpn.system.monitor import Changes
from mqvpn.system.routing import MARK
from mqvpn.tunnel.paths import Uplink

log = logging.getLogger(__name__)

SMALLEST_MTU = BASE + HEADERS[6]  # bytes
UNBOUND = ""  # stands for the one socket of a client without `Path`: the kernel's routes choose
Endpoint = tuple[str, int]


@dataclass(slots=True)
class PathSocket:
    """A path interface's socket, named `number`; None while there is no such interface."""

    interface: str
    number: int
    udp: socket.socket | None = None
    index: int = 0  # of the interface it is bound to
    refused: str = ""  # why it could not be opened
    told: str | None = None  # why it cannot be used, or by which addresses it can, as last logged


class Uplinks:
    """The sockets of `interfaces` (none: one unbound socket), registered with the pump."""

    def __init__(
        self, netlink: Netlink, pump: Pump, interfaces: tuple[str, ...], passed: Passed, mark: int = MARK
    ) -> None:
        self.servers: list[Endpoint] = []
        self._places: dict[Endpoint, int] = {}  # of the servers that have these addresses
        self._netlink = netlink
        self._pump = pump
        self._passed = passed
        self._mark = mark
        self._leaving: list[PathSocket] = []
        self._offered: frozenset[Uplink] = frozenset()
        self.barred: Callable[[str], str] = lambda interface: ""  # why an interface is not to be used
        self.gained = False  # whether the last current() found an uplink that the one before did not
        self._wanted = interfaces  # names, patterns, auto
        exact = [name for name in interfaces if not is_pattern(name)]
        self._sockets = [PathSocket(name, number) for number, name in enumerate(exact if interfaces else (UNBOUND,))]

    def __enter__(self) -> Self:
        if not self._wanted and self._sockets[0].udp is None:
            self._open(self._sockets[0], 0)
        return self

    def __exit__(self, *_: object) -> None:
        for entry in (*self._sockets, *self._leaving):
            self._close(entry)

    def replace(self, interfaces: tuple[str, ...]) -> list[str]:
        """Use these from now on; returns those that are no longer to be used, whose sockets stay until remove()."""
        self._wanted = interfaces
        wanted = interfaces or (UNBOUND,)
        gone = [entry for entry in self._sockets if not any(means(word, entry.interface) for word in wanted)]
        self._leaving += gone
        meant = [entry.interface for entry in self._sockets if entry not in gone]
        exact = [name for name in wanted if not is_pattern(name)]
        self._use([*exact, *(name for name in meant if name not in exact)])
        self.__enter__()
        return [entry.interface for entry in self._leaving]

    def lead_to(self, servers: Mapping[int, Sequence[Endpoint]]) -> None:
        """The servers to be reached: the addresses of each by its place among them."""
        self._places = {address: place for place in sorted(servers, reverse=True) for address in servers[place]}
        self.servers = list(dict.fromkeys(address for place in sorted(servers) for address in servers[place]))

    def names(self) -> list[str]:
        """The interfaces in use, "" for the kernel's choice."""
        return [entry.interface for entry in self._sockets]

    def _use(self, names: list[str]) -> None:
        """Have an entry for each, and for no other, in this order."""
        known = {entry.interface: entry for entry in self._sockets if entry.interface in names}
        taken = {entry.number for entry in (*known.values(), *self._leaving)}
        free = itertools.filterfalse(taken.__contains__, itertools.count())
        self._sockets = [known.get(name) or PathSocket(name, next(free)) for name in names]

    def remove(self) -> None:
        """Close the sockets of the interfaces that replace() took out of use."""
        for entry in self._leaving:
            self._close(entry)
            self._passed.forget_path(entry.interface)
        self._leaving.clear()

    def concerned(self, changes: Changes) -> bool:
        """Whether what the monitor saw can matter to one of our interfaces.

        Without `Path` any can become the way to the server, and while its addresses are not known each change may make
        the look-up succeed.
        """
        known = {entry.index for entry in self._sockets if entry.udp is not None}
        patterns = any(map(is_pattern, self._wanted))
        any_counts = not self._wanted or patterns or len(known) < len(self._sockets) or not self.servers
        return bool(changes) and (changes.everything or any_counts or bool(changes.interfaces & known))

    @property
    def lacks_sockets(self) -> bool:
        """Whether the last current() found an interface whose socket could not be opened."""
        return any(entry.refused for entry in self._sockets)

    @property
    def offers(self) -> bool:
        """Whether the last current() found any uplink."""
        return bool(self._offered)

    def current(self) -> dict[str, tuple[Uplink, ...]]:
        """What each interface can be used for now; raises OperationFailed."""
        if not self._wanted:
            ways = {UNBOUND: tuple(map(self._towards, self.servers))}
        else:
            interfaces = self._netlink.interfaces()
            names = chosen(self._wanted, interfaces, self.names(), self._leads_to_server)
            vanished = [name for name in self.names() if name not in names]
            self._use([*names, *vanished])
            ways = {entry.interface: self._ways(entry, interfaces.get(entry.interface)) for entry in self._sockets}
            self._use(names)
        offered = frozenset(way for some in ways.values() for way in some)
        self.gained, self._offered = bool(offered - self._offered), offered
        return ways

    def carriers(self) -> list[str]:
        """The interfaces that packets of the server can come in by; raises OperationFailed."""
        if self._wanted:
            return self.names()
        addresses = [ip_address(host) for host, _ in self.servers]
        return [
            name
            for name, interface in self._netlink.interfaces().items()
            if interface.up and any(self._netlink.reaches(address, name, self._mark) for address in addresses)
        ]

    def _ways(self, entry: PathSocket, interface: Interface | None) -> tuple[Uplink, ...]:
        entry.refused = ""
        if interface is None or interface.index != entry.index:
            self._close(entry)
        if interface is not None and entry.udp is None:
            self._open(entry, interface.index)
        ways: tuple[Uplink, ...] = ()
        barred = self.barred(entry.interface)
        if not barred and interface is not None and interface.up and interface.carrier and entry.udp is not None:
            fitting = [server for server in self._reached(interface) if udp_payload(interface.mtu, server[0]) >= BASE]
            ways = tuple(self._uplink(entry, server, interface.mtu) for server in fitting)
        self._report(entry, interface, ways, barred)
        return ways

    def _uplink(self, entry: PathSocket, server: Endpoint, mtu: int) -> Uplink:
        local = self._netlink.source(ip_address(server[0]), entry.interface, self._mark)
        place = self._places.get(server, 0)
        return Uplink(entry.interface, entry.number, server, udp_payload(mtu, server[0]), local, place)

    def _towards(self, server: Endpoint) -> Uplink:
        """By the interface that the kernel chooses; without a route it is offered, too, for one may appear."""
        entry = self._sockets[0]
        index, mtu = self._netlink.egress(ip_address(server[0]), mark=self._mark)
        if not index:
            return Uplink(UNBOUND, entry.number, server, server=self._places.get(server, 0))
        entry.index = index
        return self._uplink(entry, server, mtu)

    def _leads_to_server(self, interface: Interface) -> bool:
        return interface.up and interface.carrier and bool(self._reached(interface))

    def _reached(self, interface: Interface) -> list[Endpoint]:
        versions = {address.version for address in interface.addresses}
        reached = []
        for host, port in self.servers:
            address = ip_address(host)
            if address.version in versions and self._netlink.reaches(address, interface.name, self._mark):
                reached.append((host, port))
        return reached

    def _report(self, entry: PathSocket, interface: Interface | None, ways: tuple[Uplink, ...], barred: str) -> None:
        """Say what has changed about an interface, and why it can or cannot be used."""
        if not self.servers:
            return
        locals_ = ", ".join(dict.fromkeys(way.local for way in ways if way.local))
        reason = "" if ways else barred or entry.refused or self._reason(interface)
        told, entry.told = entry.told, reason or f"from {locals_}"
        name = entry.interface
        if told == entry.told:
            return
        if not reason:
            log.info("%s: can be used from %s", name, locals_, extra=event("interface-usable", path=name))
        else:
            log.warning("%s: %s", name, reason, extra=event("interface-unusable", path=name, reason=reason))

    def _reason(self, interface: Interface | None) -> str:
        """Why an interface cannot be used."""
        if interface is None:
            return "there is no such interface"
        if not (interface.up and interface.carrier):
            return "no carrier" if interface.up else "down"
        if self._reached(interface):
            return f"MTU {interface.mtu} is too small, {SMALLEST_MTU} are needed"
        return "no address of the server's kind, or no route to it"

    def _open(self, entry: PathSocket, index: int) -> None:
        try:
            entry.udp = self._passed.path_socket(entry.interface, index, self._mark)
        except OperationFailed as error:
            if entry.interface == UNBOUND:
                raise
            entry.refused = str(error)
            return
        entry.index = index
        self._pump.add_socket(entry.number, entry.udp)

    def _close(self, entry: PathSocket) -> None:
        if entry.udp is not None:
            self._pump.remove_socket(entry.number)
            entry.udp.close()
            entry.udp = None
