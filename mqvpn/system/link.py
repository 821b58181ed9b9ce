"""Interfaces, addresses, routes and rules by rtnetlink; the only importer of pyroute2.

pyroute2 0.7 has synchronous calls alone, and those of 0.9 refuse to run where an event loop runs. So each
Netlink owns one worker thread for all its requests: the same calls work with both, from anywhere. One takes
about a millisecond.
"""

import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface, ip_network
from typing import Any, ParamSpec, Self, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mqvpn.system.change import change
from mqvpn.system.errors import refused
from mqvpn.system.routing import MAIN, PROTOCOL, Item, Route, Rule

P = ParamSpec("P")
T = TypeVar("T")

IFF_UP, IFF_LOOPBACK = 1, 8
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40
RT_SCOPE_LINK = 253
SIOCGIFINDEX = 0x8933  # <linux/sockios.h>
IFREQ = struct.Struct("16si20x")  # struct ifreq: the name, and what is asked for
RTM_F_FIB_MATCH = 0x2000
RTN_UNICAST, RTN_UNREACHABLE, RTN_THROW = 1, 7, 9
FIB_RULE_INVERT = 2
NO_SUPPRESSION = 0xFFFFFFFF
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}
ALREADY_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)
NO_IPV6 = (errno.EAFNOSUPPORT,)
NO_ROUTE = (*NO_IPV6, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENODEV)

Address = IPv4Address | IPv6Address
AddressOnLink = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface as the kernel has it; `addresses` are those that packets can be sent from now. `kind`: of a virtual
    one, as `ip link add type` names it, or loopback."""

    name: str
    index: int
    up: bool
    carrier: bool
    mtu: int
    addresses: frozenset[AddressOnLink]
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunLink:
    """How our TUN should be: with these addresses and no others; sizes in bytes, `queue` in packets."""

    name: str
    mtu: int
    addresses: tuple[AddressOnLink, ...] = ()
    up: bool = True
    queue: int = 1000
    gso_max_size: int | None = None

    def describes(self, found: Interface) -> bool:
        """Whether nothing of this was taken away; it may have more addresses, and an MTU that somebody chose."""
        return found.up and found.addresses >= set(self.addresses)


def in_worker(method: Callable[P, T]) -> Callable[P, T]:
    """Run the method in the worker thread of its Netlink (see the module) and wait for what it returns."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        worker: ThreadPoolExecutor = args[0]._worker  # type: ignore[attr-defined]
        return worker.submit(method, *args, **kwargs).result()

    return call


class Netlink:
    """A connection to the kernel. Every call raises OperationFailed with the kernel's reason."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "netlink")
        with ExitStack() as half_done:
            half_done.callback(self._worker.shutdown)
            try:
                self._any = half_done.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                self._ip: Any = self._worker.submit(IPRoute).result()
            except OSError as error:
                raise refused("connect to the kernel (rtnetlink)", error.errno or 0) from error
            half_done.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._worker.submit(self._ip.close)
        self._worker.shutdown()
        self._any.close()

    @in_worker
    def interfaces(self) -> dict[str, Interface]:
        """Every interface by name."""
        with failing("list the interfaces"):
            links, addresses = list(self._ip.get_links()), list(self._ip.get_addr())
        usable: dict[int, set[AddressOnLink]] = {}
        for message in addresses:
            if not _flags(message) & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
                usable.setdefault(message["index"], set()).add(_address(message))
        found = [_interface(link, frozenset(usable.get(link["index"], ()))) for link in links]
        return {interface.name: interface for interface in found}

    @in_worker
    def configure(self, want: TunLink) -> None:
        """Bring our TUN to `want`; may be called again. A gso_max_size that the kernel refuses is skipped."""
        state = "up" if want.up else "down"
        with failing(f"set interface {want.name} {state} with MTU {want.mtu}"):
            index = self._index(want.name)
            with change("link"):
                self._ip.link("set", index=index, mtu=want.mtu, txqlen=want.queue, state=state)
        if want.gso_max_size is not None:
            self._set_gso_size(index, want.gso_max_size)
        for stale in self._own_addresses(index) - set(want.addresses):
            with failing(f"remove address {stale} from {want.name}", ALREADY_GONE), change("address-gone"):
                self._ip.addr("del", index=index, address=str(stale.ip), mask=stale.network.prefixlen)
        present = self._own_addresses(index)  # read again: a primary IPv4 address takes its secondaries along
        for missing in want.addresses:
            if missing not in present:
                self._add_address(index, want.name, missing)

    @in_worker
    def found(self, name: str) -> TunLink:
        """How a TUN is now."""
        with failing(f"look at interface {name}"):
            index = self._index(name)
            [link] = list(self._ip.get_links(index))
        return TunLink(
            name=name,
            mtu=link.get_attr("IFLA_MTU"),
            addresses=tuple(sorted(self._own_addresses(index), key=str)),
            up=bool(link["flags"] & IFF_UP),
            queue=link.get_attr("IFLA_TXQLEN"),
            gso_max_size=link.get_attr("IFLA_GSO_MAX_SIZE"),
        )

    @in_worker
    def reaches(self, address: Address, interface: str, mark: int | None = None) -> bool:
        """Whether the FIB has a route to `address` by `interface` for packets that carry `mark`. An IPv6 address with a
        zone is reached by that interface alone."""
        request: dict[str, Any] = {"family": FAMILIES[address.version], "dst": _plain(address)}
        if address.version == 4:  # else the kernel takes any address to be a neighbour on that interface
            request["flags"] = RTM_F_FIB_MATCH
        if mark is not None:
            request["mark"] = mark
        answers: list[Any] = []
        with failing(f"look up the route to {address} through {interface}", NO_ROUTE):
            index = self._index(interface)
            if getattr(address, "scope_id", None) in (None, interface, str(index)):
                answers = list(self._ip.route("get", oif=index, **request))
        return any(answer["type"] == RTN_UNICAST for answer in answers)

    @in_worker
    def source(self, address: Address, interface: str = "", mark: int | None = None) -> str:
        """The address that packets to `address` are sent from, by `interface` if one is named; "": no route."""
        request: dict[str, Any] = {"family": FAMILIES[address.version], "dst": _plain(address)}
        if mark is not None:
            request["mark"] = mark
        with failing(f"look up the route to {address}", NO_ROUTE):
            if interface:
                request["oif"] = self._index(interface)
            for answer in self._ip.route("get", **request):
                return str(answer.get_attr("RTA_PREFSRC") or "")
        return ""

    @in_worker
    def egress(self, address: Address, source: Address | None = None, mark: int | None = None) -> tuple[int, int]:
        """The interface by which packets to `address` leave: its index and its MTU in bytes; zeros: no route.

        source, mark: the packets' own address and SO_MARK, for policy rules. An IPv6 address may carry its zone.
        """
        zone = getattr(address, "scope_id", None)
        request: dict[str, Any] = {"family": FAMILIES[address.version], "dst": _plain(address)}
        if source is not None and source.version == address.version:
            request["src"] = _plain(source)
        if mark is not None:
            request["mark"] = mark
        with failing(f"look up the route to {address}", NO_ROUTE):
            if zone is not None:
                request["oif"] = int(zone) if zone.isdigit() else self._index(zone)
            for answer in list(self._ip.route("get", **request)):
                index = answer.get_attr("RTA_OIF")
                [link] = list(self._ip.get_links(index))
                return index, link.get_attr("IFLA_MTU")
        return 0, 0

    @in_worker
    def routes(self, table: int) -> frozenset[Route]:
        """The routes in this table that carry our protocol number."""
        with failing("list the routes"):
            dumps = [self._ip.get_routes(family=family, table=table) for family in VERSIONS]
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in self._ip.get_links()}
        return frozenset(
            _route(message, names)
            for dump in dumps
            for message in dump
            if message["proto"] == PROTOCOL and message.get_attr("RTA_TABLE") == table
        )

    @in_worker
    def rules(self) -> frozenset[Rule]:
        """The policy rules that carry our protocol number."""
        found: list[Any] = []
        for family in VERSIONS:
            with failing("list the policy rules", NO_IPV6):
                found += self._ip.get_rules(family=family)
        return frozenset(_rule(message) for message in found if message.get_attr("FRA_PROTOCOL") == PROTOCOL)

    @in_worker
    def add(self, item: Item) -> None:
        """Add one route or rule of ours."""
        with failing(f"add {item}"), change("rule" if isinstance(item, Rule) else "route"):
            self._request("add", item)

    @in_worker
    def delete(self, item: Item) -> None:
        """Remove one route or rule of ours; one that is gone already is no error."""
        with failing(f"remove {item}", ALREADY_GONE), change("rule-gone" if isinstance(item, Rule) else "route-gone"):
            self._request("del", item)

    def _request(self, verb: str, item: Item) -> None:
        if isinstance(item, Rule):
            self._ip.rule(verb, **_rule_request(item))
            return
        way: dict[str, Any] = {"type": "throw" if item.excluded else "unreachable"}
        if item.interface is not None:
            way = {"oif": self._index(item.interface)}
        family = FAMILIES[item.destination.version]
        destination = str(item.destination)
        self._ip.route(
            verb, family=family, dst=destination, table=item.table, proto=PROTOCOL, priority=item.metric, **way
        )

    def _index(self, name: str) -> int:
        """The interface's number, asked for by a socket that is there: if_nametoindex() opens one each time. Without
        such an interface the kernel's own answer, ENODEV."""
        try:
            answer = fcntl.ioctl(self._any, SIOCGIFINDEX, IFREQ.pack(name.encode(), 0))
        except OSError as error:
            raise NetlinkError(error.errno or errno.ENODEV, name) from error
        return int(IFREQ.unpack(answer)[1])

    def _own_addresses(self, index: int) -> set[AddressOnLink]:
        """All but the link-local ones, which the kernel makes."""
        with failing("list the addresses"):
            messages = [m for m in self._ip.get_addr(index=index) if m["scope"] != RT_SCOPE_LINK]
        return {_address(message) for message in messages}

    def _add_address(self, index: int, name: str, address: AddressOnLink) -> None:
        nodad = {"flags": IFA_F_NODAD} if address.version == 6 else {}  # there is nobody to ask on a TUN
        length = address.network.prefixlen
        with failing(f"add address {address} to {name}"), change("address"):
            self._ip.addr("add", index=index, address=str(address.ip), mask=length, **nodad)

    def _set_gso_size(self, index: int, size: int) -> None:
        with failing("set gso_max_size", (errno.EINVAL, errno.EOPNOTSUPP)):
            self._ip.link("set", index=index, IFLA_GSO_MAX_SIZE=size, IFLA_GRO_MAX_SIZE=size)


@contextmanager
def failing(operation: str, ignored: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn the kernel's refusal into OperationFailed, or into nothing when its errno is among `ignored`."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in ignored:
            raise refused(operation, error.code) from error


def _plain(address: Address) -> str:
    """Without its zone, which the kernel takes as an interface's number (RTA_OIF)."""
    return str(address).partition("%")[0]


def _flags(message: Any) -> int:
    flags = message.get_attr("IFA_FLAGS")
    return int(message["flags"] if flags is None else flags)


def _address(message: Any) -> AddressOnLink:
    local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ip_interface(f"{local}/{message['prefixlen']}")


def _interface(link: Any, addresses: frozenset[AddressOnLink]) -> Interface:
    info = link.get_attr("IFLA_LINKINFO")
    kind = "loopback" if link["flags"] & IFF_LOOPBACK else info.get_attr("IFLA_INFO_KIND") if info else ""
    return Interface(
        name=link.get_attr("IFLA_IFNAME"),
        index=link["index"],
        up=bool(link["flags"] & IFF_UP),
        carrier=bool(link.get_attr("IFLA_CARRIER")),
        mtu=link.get_attr("IFLA_MTU"),
        addresses=addresses,
        kind=kind or "",
    )


def _route(message: Any, names: dict[int, str]) -> Route:
    version = VERSIONS[message["family"]]
    anywhere = "0.0.0.0" if version == 4 else "::"  # noqa: S104
    destination = ip_network(f"{message.get_attr('RTA_DST') or anywhere}/{message['dst_len']}")
    index = message.get_attr("RTA_OIF")
    name = None if message["type"] in (RTN_UNREACHABLE, RTN_THROW) else names.get(index, str(index))
    metric, table = message.get_attr("RTA_PRIORITY") or 0, message.get_attr("RTA_TABLE")
    return Route(destination, name, metric, table, excluded=message["type"] == RTN_THROW)


def _rule(message: Any) -> Rule:
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    return Rule(
        version=VERSIONS[message["family"]],
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") or MAIN,
        unless_mark=message.get_attr("FRA_FWMARK") if message["flags"] & FIB_RULE_INVERT else None,
        suppress_prefix_length=None if suppress in (None, NO_SUPPRESSION) else suppress,
    )


def _rule_request(rule: Rule) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": FAMILIES[rule.version],
        "priority": rule.priority,
        "table": rule.table,
        "FRA_PROTOCOL": PROTOCOL,
    }
    if rule.unless_mark is not None:
        request |= {"fwmark": rule.unless_mark, "flags": FIB_RULE_INVERT}
    if rule.suppress_prefix_length is not None:
        request["FRA_SUPPRESS_PREFIXLEN"] = rule.suppress_prefix_length
    return request
