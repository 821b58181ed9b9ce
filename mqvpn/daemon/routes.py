"""What of the machine's traffic goes into the tunnel: the settings and what the tunnel carries, as routes and rules.

What Routes leads into the tunnel never goes past it, whatever the server leaves out or withdraws: it is refused as long
as the tunnel carries none of its IP version. Only IPv6 may be let past, by `IPv6 = allow`.
"""

from collections.abc import Iterable
from ipaddress import IPv6Network
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.config.routes import DEFAULT, SERVER
from mqvpn.daemon.advertised import Advertised, own_networks
from mqvpn.daemon.routestatus import route_figures
from mqvpn.system import namespace, routing
from mqvpn.system.link import Netlink
from mqvpn.system.routing import DEFAULT_ROUTES, TABLE, Slot, TunnelRoutes
from mqvpn.system.undo import Undo
from mqvpn.wire.address import AddressRange, Network

PROC_IPV6 = Path("/proc/net/if_inet6")
ALL_IPV6 = IPv6Network("::/0")


class Routing:
    """Our routes and rules: applied, changed; cleanup.routes() undoes them. Every call raises OperationFailed."""

    def __init__(self, netlink: Netlink, interface: str, settings: ClientSettings, undo: Undo) -> None:
        self._netlink = netlink
        self._interface = interface
        self._settings = settings
        self._undo = undo
        self._versions: frozenset[int] | None = None
        self._wanted: TunnelRoutes | None = None
        self._advertised = Advertised()
        self._told: list[dict[str, str]] | None = None  # by status(), if it is still so
        self._said: tuple[tuple[AddressRange, ...], tuple[str, ...]] | None = None

    def advertised(self, ranges: Iterable[AddressRange], servers: Iterable[str]) -> None:
        """The server, which has these addresses, forwards to these ranges."""
        self._said = tuple(ranges), tuple(servers)
        self._listen()
        self._apply()

    def carry(self, addresses: Iterable[Network]) -> None:
        """The tunnel carries the IP versions of these addresses of ours."""
        self._versions = frozenset(address.version for address in addresses)
        self._apply()

    def take_over(self, slot: Slot) -> None:
        """A predecessor's routes, of the IP versions that its tunnel carried, lead into our TUN from now on."""
        versions = {route.destination.version for route in self._netlink.routes(slot.table) if not route.excluded}
        if versions:
            self._versions = frozenset(versions)
            self._apply()

    def reload(self, settings: ClientSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings
        self._listen()
        self._apply()

    def repair(self) -> bool:
        """Put back what somebody else took away; whether something was missing."""
        slot = self._undo.record.slot
        if self._wanted is None or slot is None or not routing.missing(self._netlink, self._wanted, slot):
            return False
        routing.apply(self._netlink, self._wanted, slot)
        return True

    def status(self) -> list[dict[str, str]]:
        """Where which destinations go, and why; MAX_TOLD at most of each kind."""
        if self._wanted is None or not self._settings.manage_routes:
            return []
        if self._told is None:
            self._told = route_figures(self._settings, self._wanted, self._advertised)
        return self._told

    def _listen(self) -> None:
        """Believe the server as far as we are to."""
        self._told = None
        if self._said is None:
            return
        ranges, servers = self._said
        if SERVER not in self._settings.routes:
            self._advertised.overhear(ranges)
        else:
            own = own_networks(self._netlink.interfaces().values(), self._interface, servers)
            self._advertised.update(ranges, own)

    def _apply(self) -> None:
        if self._versions is None or not self._settings.manage_routes:
            return
        self._told = None
        want = tunnel_routes(self._settings, self._interface, self._versions, self._advertised, ipv6=PROC_IPV6.exists())
        if want == self._wanted:
            return
        with namespace.alone():  # of two that start at once, each finds a slot of its own
            slot = self._slot()
            self._undo.note(slot=slot)
            self._wanted = want
            routing.apply(self._netlink, want, slot)

    def _slot(self) -> Slot:
        """Ours, or a predecessor's if it is of the same table."""
        slot, table = self._undo.record.slot, self._settings.table
        if slot is not None and slot.table != (table or TABLE + slot.number):
            routing.apply(self._netlink, routing.EMPTY, slot)
            slot = None
        return slot or routing.choose(self._netlink, self._interface, table)


def tunnel_routes(
    settings: ClientSettings,
    interface: str,
    versions: frozenset[int],
    advertised: Advertised | None = None,
    *,
    ipv6: bool = True,
) -> TunnelRoutes:
    """The routes for a tunnel that carries these IP versions; `ipv6`: this machine has IPv6."""
    advertised = advertised or Advertised()
    destinations = dict.fromkeys(_asked_for(settings, advertised))
    carried = {version for version in versions if version == 4 or carries_ipv6(settings)}
    refused = {route: None for route in destinations if route.version not in carried}
    if SERVER in settings.routes:
        refused |= {route: None for route in advertised.withdrawn if route not in destinations}
    if settings.ipv6 == "allow":
        refused = {route: None for route in refused if route.version in carried or route.version == 4}
    elif settings.ipv6 == "block":
        refused[ALL_IPV6] = None
    return TunnelRoutes(
        interface,
        tuple(route for route in destinations if route.version in carried),
        lan=settings.allow_lan or not settings.kill_switch,
        refused=tuple(route for route in refused if route.version == 4 or ipv6),
        excluded=settings.exclude,
        mark=settings.fwmark,
        metric=settings.metric,
    )


def carries_ipv6(settings: ClientSettings) -> bool:
    """Whether IPv6 may go into the tunnel at all."""
    return settings.ipv6 != "block"


def _asked_for(settings: ClientSettings, advertised: Advertised) -> Iterable[Network]:
    for route in settings.routes or (DEFAULT,):
        if route == DEFAULT:
            yield from DEFAULT_ROUTES
        elif route == SERVER:
            yield from advertised.current
        elif not isinstance(route, str):
            yield route
