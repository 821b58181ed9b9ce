"""The client's routes into the tunnel: an own table, chosen by rules for every packet that is not our own.

    28016: lookup main suppress_prefixlength 0      more specific routes of the host win, its default does not; not
                                                    behind a kill switch that keeps local networks out
    28017: not fwmark 0x6d71 lookup 28017           the tunnel; each route has an unreachable one behind it, and what
                                                    is excluded a throw route: it is looked up further down

Path sockets carry the mark, so the server needs no host route. When the TUN goes, the unreachable routes stay:
nothing leaks. Everything is tagged with our protocol number. Several clients do not meet: each has a slot, a
table and two priorities of its own, the next ones behind those of the clients before; so the first one's routes win.
"""

import logging
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from mqvpn.system.errors import OperationFailed

log = logging.getLogger(__name__)

PROTOCOL = 171  # rtm_protocol and FRA_PROTOCOL of all that is ours
MARK = 0x6D71  # "mq"
TABLE = 0x6D71
MAIN = 254
MAIN_PRIORITY = 28016
TUNNEL_PRIORITY = 28017
TUNNEL_METRIC = 1024  # the one that the kernel gives to IPv6 routes without
EXCLUDED_METRIC = 1
UNREACHABLE_METRIC = 4278198272
SLOTS = 64  # clients with routes at the same time
DEFAULT_ROUTES = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class Route:
    """One route of ours; without an interface it is `unreachable`, or `throw` if it is `excluded`."""

    destination: IPv4Network | IPv6Network
    interface: str | None
    metric: int
    table: int = TABLE
    excluded: bool = False

    def __str__(self) -> str:
        way = f"dev {self.interface}" if self.interface is not None else "throw" if self.excluded else "unreachable"
        return f"route {self.destination} {way} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy rule of ours for IP `version`: look up `table`, unless the packet carries `unless_mark`."""

    version: int
    priority: int
    table: int
    unless_mark: int | None = None
    suppress_prefix_length: int | None = None

    def __str__(self) -> str:
        mark = "" if self.unless_mark is None else f" not fwmark {self.unless_mark:#x}"
        suppress = self.suppress_prefix_length
        end = "" if suppress is None else f" suppress_prefixlength {suppress}"
        return f"rule ipv{self.version} {self.priority}:{mark} lookup {self.table}{end}"


Item = Route | Rule


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one client among those of this machine: the priorities of its rules, and its table."""

    number: int = 0
    table: int = TABLE

    @property
    def main_priority(self) -> int:
        return MAIN_PRIORITY + 2 * self.number

    @property
    def tunnel_priority(self) -> int:
        return TUNNEL_PRIORITY + 2 * self.number

    def owns(self, rule: Rule) -> bool:
        """Whether a rule of our protocol number is this client's."""
        return rule.priority in (self.main_priority, self.tunnel_priority)


FIRST = Slot()


@dataclass(frozen=True, slots=True)
class TunnelRoutes:
    """What should go into the tunnel, by routes of this `metric`, but for packets with this `mark`; what is `refused`
    as unreachable, and what is `excluded` from both; with `lan`, more specific routes of the host win over all of it.
    Of these the longest prefix counts. The empty value is the wish that nothing of ours is left."""

    interface: str = ""
    destinations: tuple[IPv4Network | IPv6Network, ...] = ()
    lan: bool = True
    refused: tuple[IPv4Network | IPv6Network, ...] = ()
    excluded: tuple[IPv4Network | IPv6Network, ...] = ()
    mark: int = MARK
    metric: int = TUNNEL_METRIC

    @property
    def versions(self) -> set[int]:
        """The IP versions that are looked up in our table."""
        return {destination.version for destination in (*self.destinations, *self.refused)}


EMPTY = TunnelRoutes()


class Kernel(Protocol):
    """What routing needs of link.Netlink; all items are those with our PROTOCOL."""

    def routes(self, table: int) -> frozenset[Route]: ...
    def rules(self) -> frozenset[Rule]: ...
    def add(self, item: Item) -> None: ...
    def delete(self, item: Item) -> None: ...


def choose(kernel: Kernel, interface: str, table: int = 0) -> Slot:
    """The first slot that no client uses, or the one whose routes lead into `interface`, which is ours: a predecessor
    left it. Its table is `table` if given, which no other client may use. The caller sees to it that nobody else
    chooses meanwhile. Raises OperationFailed."""
    rules = kernel.rules()
    if table and any(route.interface not in (None, interface) for route in kernel.routes(table)):
        raise OperationFailed(f"use routing table {table}", "another client does", "write another Table")
    free = None
    for slot in (Slot(number, table or TABLE + number) for number in range(SLOTS)):
        routes = kernel.routes(slot.table)
        taken = any(map(slot.owns, rules))
        if any(slot.owns(rule) and rule.table == table for rule in rules):
            return slot
        if not table and any(route.interface == interface for route in routes):
            return slot
        if free is None and not taken and (table or not routes):
            free = slot
        elif free is not None and not any(rule.priority > slot.tunnel_priority for rule in rules):
            break
    if free is None:
        raise OperationFailed("find a routing table", f"{SLOTS} clients have one", "stop one of them")
    return free


def apply(kernel: Kernel, want: TunnelRoutes, slot: Slot) -> None:
    """Bring what is this client's in the kernel to `want`; may be called again at any time. Raises OperationFailed."""
    for verb, item in missing(kernel, want, slot):
        log.debug("%s %s", verb, item)
        if verb == "add":
            kernel.add(item)
        else:
            kernel.delete(item)


def missing(kernel: Kernel, want: TunnelRoutes, slot: Slot) -> list[tuple[str, Item]]:
    """The steps that bring what is this client's in the kernel to `want`; none: it is so. Raises OperationFailed."""
    have = kernel.routes(slot.table) | frozenset(filter(slot.owns, kernel.rules()))
    return plan(have, want, slot)


def plan(have: frozenset[Item], want: TunnelRoutes, slot: Slot = FIRST) -> list[tuple[str, Item]]:
    """The steps from `have` to `want`: a rule never points to a table that does not hold its routes yet, and what is
    in the tunnel before and after is never out of it meanwhile."""
    wanted = desired(want, slot)
    fresh = [item for item in wanted if item not in have]
    stale = sorted(have - set(wanted), key=_order, reverse=True)
    places = {_place(item) for item in fresh}
    first = [("delete", item) for item in stale if _place(item) in places]
    last = [("delete", item) for item in stale if _place(item) not in places]
    return first + [("add", item) for item in fresh] + last


def desired(want: TunnelRoutes, slot: Slot = FIRST) -> list[Item]:
    """Every item that `want` means, in the order in which it is safe to add them."""
    items: list[Item] = []
    for destination in (*want.destinations, *want.refused):
        items.append(Route(destination, None, UNREACHABLE_METRIC, slot.table))
    for destination in want.destinations:
        items.append(Route(destination, want.interface, want.metric, slot.table))
    for destination in want.excluded:
        if destination.version in want.versions:
            items.append(Route(destination, None, EXCLUDED_METRIC, slot.table, excluded=True))
    for version in sorted(want.versions):
        if want.lan:
            items.append(Rule(version, slot.main_priority, MAIN, suppress_prefix_length=0))
        items.append(Rule(version, slot.tunnel_priority, slot.table, unless_mark=want.mark))
    return sorted(items, key=_order)


def _place(item: Item) -> object:
    """What the kernel has only one of."""
    return (item.table, item.destination, item.metric) if isinstance(item, Route) else item


def _order(item: Item) -> tuple[bool, int, int, str]:
    """Routes before rules, unreachable ones (the highest metric) first; deletion goes backwards."""
    if isinstance(item, Route):
        return False, item.destination.version, -item.metric, str(item)
    return True, item.version, item.priority, str(item)
