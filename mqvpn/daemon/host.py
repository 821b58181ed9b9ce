"""What the client changes on the machine: its TUN, addresses, routes, sysctls; all of it stays through reconnects."""

from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from mqvpn.config.client import ClientSettings
from mqvpn.daemon import cleanup
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.daemon.pump import gso_max_size
from mqvpn.daemon.routes import Routing, carries_ipv6
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink, TunLink
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import Undo
from mqvpn.wire.address import AddressRange, Network

LEAST_MTU = 1280  # bytes (RFC 8200, section 5)


class Host:
    """What the client changes on the machine."""

    def __init__(
        self, netlink: Netlink, interface: str, settings: ClientSettings, switch: KillSwitch, undo: Undo
    ) -> None:
        self._netlink = netlink
        self.undo = undo
        self._routing = Routing(netlink, interface, settings, undo)
        self._switch = switch
        self._interface = interface
        self._settings = settings
        self._link: TunLink | None = None
        self._assigned: tuple[Network, ...] = ()
        self._mtu = LEAST_MTU  # that the paths take
        self._carried: tuple[Network, ...] = ()

    def take_over(self) -> None:
        """What a predecessor left and is not wanted any more goes; the rest leads into our TUN again. For while its
        routes are unreachable, the kernel's reverse path filter, loose too, drops all that the server answers.

        Raises OperationFailed.
        """
        if not self._settings.manage_routes:
            self.restore()
        elif self.undo.record.slot is not None:
            if not self._netlink.interfaces()[self._interface].up:  # else it was kept, with its addresses
                self._netlink.configure(TunLink(name=self._interface, mtu=LEAST_MTU))
            self._routing.take_over(self.undo.record.slot)

    def let_replies_in(self, interfaces: list[str]) -> None:
        """Let the server's packets in by these interfaces, though our routes lead its address into the TUN."""
        if self._settings.manage_routes:
            for interface in interfaces:
                Sysctls(undo=self.undo).loosen_rp_filter(interface)

    def apply(self, addresses: tuple[Network, ...], mtu: int) -> None:
        """Give the TUN these addresses and this MTU; what the settings want of their IP versions is led into it."""
        self._assigned, self._mtu = addresses, mtu
        self._carried = tuple(prefix for prefix in addresses if prefix.version == 4 or carries_ipv6(self._settings))
        inner = tuple(map(_on_link, self._carried))
        self._switch.set_addresses(tuple(address.ip for address in inner))
        mtu = min(self._settings.mtu or mtu, mtu)
        link = TunLink(name=self._interface, mtu=mtu, addresses=inner, gso_max_size=gso_max_size(mtu))
        self._link = link
        self._netlink.configure(link)
        self._routing.carry(self._carried)

    def advertised(self, ranges: tuple[AddressRange, ...], servers: list[str]) -> None:
        """The server, which has these addresses, forwards to these ranges. Raises OperationFailed."""
        self._routing.advertised(ranges, servers)

    def routes(self) -> list[dict[str, str]]:
        """Where which destinations go, and why."""
        return self._routing.status()

    def repair(self) -> bool:
        """Put back what somebody took away of all this; whether something was missing. Raises OperationFailed."""
        if self._link is None:
            return False
        found = self._netlink.interfaces().get(self._interface)
        if found is None:
            return False  # the device itself is gone, which the pump notices
        whole = self._link.describes(found)
        if not whole:
            self._netlink.configure(self._link)
        self._routing.carry(self._carried)  # if that was not reached before
        return self._routing.repair() or not whole

    def reload(self, settings: ClientSettings) -> None:
        """Lead other destinations and IP versions into the tunnel, and past it. Raises OperationFailed, and nothing is
        changed then."""
        former = self._settings
        try:
            self._go_by(settings)
        except OperationFailed:
            self._go_by(former)
            raise

    def _go_by(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._switch.reload(settings)
        self._routing.reload(settings)
        if self._link is not None:
            self.apply(self._assigned, self._mtu)

    def restore(self) -> None:
        """Take back what apply() and let_replies_in() did; the TUN takes its addresses along when it is closed."""
        cleanup.restore(self.undo, self._netlink)


def _on_link(prefix: Network) -> IPv4Interface | IPv6Interface:
    return ip_interface(f"{prefix.network_address}/{prefix.prefixlen}")
