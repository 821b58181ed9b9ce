"""The client's sockets, one for each path interface, and by which of them the server can be reached now.

An interface may be absent at start and come and go later: its socket is opened when it appears, and opened
anew when another interface took its name, for SO_BINDTODEVICE means the one that was there. Its MTU, less the
headers, is what path MTU discovery searches below.
"""

import itertools
import logging
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from mqvpn.daemon.eventlog import event
from mqvpn.daemon.passed import Passed
from mqvpn.daemon.pump import Pump
from mqvpn.multipath.mtu import udp_payload
from mqvpn.multipath.search import BASE
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Interface, Netlink
from mqvpn.system.monitor import Changes
from mqvpn.system.routing import MARK
from mqvpn.tunnel.paths import Uplink

log = logging.getLogger(__name__)

SMALLEST_MTU = BASE + 48  # bytes: with the headers of IPv6
UNBOUND = ""  # stands for the one socket of a client without `Path`: the kernel's routes choose
Endpoint = tuple[str, int]


@dataclass(slots=True)
class PathSocket:
    """A path interface's socket, named `number`; None while there is no such interface."""

    interface: str
    number: int
    udp: socket.socket | None = None
    index: int = 0  # of the interface it is bound to
    usable: bool | None = None  # as last logged


class Uplinks:
    """The sockets of `interfaces` (none: one unbound socket), registered with the pump."""

    def __init__(
        self, netlink: Netlink, pump: Pump, interfaces: tuple[str, ...], passed: Passed, mark: int = MARK
    ) -> None:
        self.servers: list[Endpoint] = []
        self._netlink = netlink
        self._pump = pump
        self._passed = passed
        self._mark = mark
        self._leaving: list[PathSocket] = []
        self._sockets = [PathSocket(name, number) for number, name in enumerate(interfaces or (UNBOUND,))]

    def __enter__(self) -> Self:
        if self._sockets[0].interface == UNBOUND and self._sockets[0].udp is None:
            self._open(self._sockets[0], 0)
        return self

    def __exit__(self, *_: object) -> None:
        for entry in (*self._sockets, *self._leaving):
            self._close(entry)

    def replace(self, interfaces: tuple[str, ...]) -> list[str]:
        """Use these from now on; returns those that are no longer to be used, whose sockets stay until remove()."""
        wanted = interfaces or (UNBOUND,)
        known = {entry.interface for entry in self._sockets}
        free = itertools.filterfalse({entry.number for entry in self._sockets}.__contains__, itertools.count())
        fresh = [PathSocket(name, next(free)) for name in wanted if name not in known]
        kept = [entry for entry in self._sockets if entry.interface in wanted]
        self._leaving += [entry for entry in self._sockets if entry.interface not in wanted]
        self._sockets = sorted((*kept, *fresh), key=lambda entry: wanted.index(entry.interface))
        self.__enter__()
        return [entry.interface for entry in self._leaving]

    def remove(self) -> None:
        """Close the sockets of the interfaces that replace() took out of use."""
        for entry in self._leaving:
            self._close(entry)
            self._passed.forget_path(entry.interface)
        self._leaving.clear()

    def concerned(self, changes: Changes) -> bool:
        """Whether what the monitor saw can matter to one of our interfaces."""
        if self._sockets[0].interface == UNBOUND:  # only the interface that the kernel chose
            return bool(self.servers) and (changes.everything or self._sockets[0].index in changes.interfaces)
        known = {entry.index for entry in self._sockets if entry.udp is not None}
        missing = any(entry.udp is None for entry in self._sockets)
        return changes.everything or missing or bool(changes.interfaces & known)

    def current(self) -> dict[str, tuple[Uplink, ...]]:
        """What each interface can be used for now; raises OperationFailed."""
        if self._sockets[0].interface == UNBOUND:
            return {UNBOUND: tuple(Uplink(UNBOUND, 0, server, self._towards(server)) for server in self.servers)}
        interfaces = self._netlink.interfaces()
        return {entry.interface: self._ways(entry, interfaces.get(entry.interface)) for entry in self._sockets}

    def carriers(self) -> list[str]:
        """The interfaces that packets of the server can come in by; raises OperationFailed."""
        names = [entry.interface for entry in self._sockets]
        if names != [UNBOUND]:
            return names
        addresses = [ip_address(host) for host, _ in self.servers]
        return [
            name
            for name, interface in self._netlink.interfaces().items()
            if interface.up and any(self._netlink.reaches(address, name, self._mark) for address in addresses)
        ]

    def _ways(self, entry: PathSocket, interface: Interface | None) -> tuple[Uplink, ...]:
        if interface is None or interface.index != entry.index:
            self._close(entry)
        if interface is not None and entry.udp is None:
            self._open(entry, interface.index)
        ways: tuple[Uplink, ...] = ()
        if interface is not None and interface.up and interface.carrier and entry.udp is not None:
            sizes = {server: udp_payload(interface.mtu, server[0]) for server in self._reached(interface)}
            ways = tuple(
                Uplink(entry.interface, entry.number, server, size) for server, size in sizes.items() if size >= BASE
            )
        self._report(entry, interface, bool(ways))
        return ways

    def _towards(self, server: Endpoint) -> int:
        """What the interface takes that the kernel chooses for packets to the server."""
        index, mtu = self._netlink.egress(ip_address(server[0]), mark=self._mark)
        if index:
            self._sockets[0].index = index
        return udp_payload(mtu, server[0]) if index else 0

    def _reached(self, interface: Interface) -> list[Endpoint]:
        versions = {address.version for address in interface.addresses}
        reached = []
        for host, port in self.servers:
            address = ip_address(host)
            if address.version in versions and self._netlink.reaches(address, interface.name, self._mark):
                reached.append((host, port))
        return reached

    def _report(self, entry: PathSocket, interface: Interface | None, usable: bool) -> None:
        if usable == entry.usable or not self.servers:
            return
        entry.usable = usable
        name = entry.interface
        if usable:
            log.info("%s: can be used", name, extra=event("interface-usable", path=name))
            return
        if interface is None:
            reason = "there is no such interface"
        elif not (interface.up and interface.carrier):
            reason = "no carrier" if interface.up else "down"
        elif self._reached(interface):
            reason = f"MTU {interface.mtu} is too small, {SMALLEST_MTU} are needed"
        else:
            reason = "no address of the server's kind, or no route to it"
        log.warning("%s: %s", name, reason, extra=event("interface-unusable", path=name, reason=reason))

    def _open(self, entry: PathSocket, index: int) -> None:
        try:
            entry.udp = self._passed.path_socket(entry.interface, index, self._mark)
        except OperationFailed as error:
            if entry.interface == UNBOUND:
                raise
            log.warning("%s", error)
            return
        entry.index = index
        self._pump.add_socket(entry.number, entry.udp)

    def _close(self, entry: PathSocket) -> None:
        if entry.udp is not None:
            self._pump.remove_socket(entry.number)
            entry.udp.close()
            entry.udp = None
