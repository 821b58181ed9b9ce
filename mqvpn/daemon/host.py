"""What the client changes on the machine: its TUN, addresses, routes, sysctls; all of it stays through reconnects."""

import logging
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from mqvpn.config.client import ClientSettings
from mqvpn.daemon.cleanup import sysctl_record
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.daemon.pump import gso_max_size
from mqvpn.system import namespace, routing
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink, TunLink
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import Undo
from mqvpn.wire.address import Network

log = logging.getLogger(__name__)


class Host:
    """What the client changes on the machine."""

    def __init__(
        self, netlink: Netlink, interface: str, settings: ClientSettings, switch: KillSwitch, undo: Undo
    ) -> None:
        self._netlink = netlink
        self._undo = undo
        self._switch = switch
        self._interface = interface
        self._settings = settings
        self._sysctls = Sysctls(record=sysctl_record())
        self._addresses: tuple[Network, ...] = ()

    def let_replies_in(self, interfaces: list[str]) -> None:
        """Let the server's packets in by these interfaces, though our routes lead its address into the TUN."""
        if self._settings.manage_routes:
            for interface in interfaces:
                self._sysctls.loosen_rp_filter(interface)

    def apply(self, addresses: tuple[Network, ...], mtu: int) -> None:
        """Give the TUN these addresses and this MTU; default routes of their IP versions lead into it."""
        inner = tuple(_on_link(prefix) for prefix in addresses)
        self._switch.set_addresses(tuple(address.ip for address in inner))
        mtu = min(self._settings.mtu or mtu, mtu)
        link = TunLink(name=self._interface, mtu=mtu, addresses=inner, gso_max_size=gso_max_size(mtu))
        self._netlink.configure(link)
        if self._settings.manage_routes and addresses != self._addresses:
            versions = {prefix.version for prefix in addresses}
            lan = self._settings.allow_lan or not self._settings.kill_switch
            wanted = tuple(route for route in routing.DEFAULT_ROUTES if route.version in versions)
            self._route(routing.TunnelRoutes(self._interface, wanted, lan=lan))
        self._addresses = addresses

    def _route(self, want: routing.TunnelRoutes) -> None:
        with namespace.alone():  # of two that start at once, each finds a slot of its own
            slot = self._undo.record.slot or routing.choose(self._netlink, self._interface)
            self._undo.note(slot=slot)
            routing.apply(self._netlink, want, slot)

    def restore(self) -> None:
        """Take back what apply() and prepare() did; the TUN takes its addresses along when it is closed."""
        try:
            if self._undo.record.slot is not None:
                routing.apply(self._netlink, routing.EMPTY, self._undo.record.slot)
                self._undo.note(slot=None)
        except OperationFailed as error:
            log.warning("%s", error)
        self._sysctls.restore()


def _on_link(prefix: Network) -> IPv4Interface | IPv6Interface:
    return ip_interface(f"{prefix.network_address}/{prefix.prefixlen}")
