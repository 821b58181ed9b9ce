"""The topology ("site") of nearly all end-to-end tests; each link is a plain veth or an emulated one:

      client                                              server
    +----------+   up0 10.1.0.2 ------ 10.1.0.1 dn0    +----------------+
    |  mqc0    |   up1 10.1.1.2 ------ 10.1.1.1 dn1    | mqs0 10.77.0.1 |
    +----------+                                       +----------------+
    default routes over every link,                    the addresses it is asked on are those of lo
    the metric is 100 + its number

So the client is a machine with several uplinks, and the server has more addresses than the one in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.links import Emulator, Link, Shape
from tests.lab.net import Namespace, Net

SERVER_ADDRESSES = ("198.51.100.1", "198.51.100.2")
SERVER_ADDRESSES_6 = ("2001:db8:100::1", "2001:db8:100::2")


@dataclass(frozen=True)
class Site:
    """A server and a client namespace joined by links that are up and routed."""

    net: Net
    server: Namespace
    client: Namespace
    uplinks: tuple[str, ...]  # the client's interfaces, in order
    emulator: Emulator | None

    def set_link(self, number: int, **parameters: float) -> None:
        """Change an emulated link while it runs; see Emulator.set."""
        assert self.emulator is not None, "this site's links are plain veth"
        self.emulator.set(self.uplinks[number], **parameters)

    def set_uplink(self, number: int, *, up: bool) -> None:
        """Take the client's interface down, or bring it back with its routes, as DHCP would."""
        self.client.unchanged.but_interfaces(self.uplinks[number])
        self.client.ip("link", "set", self.uplinks[number], "up" if up else "down")
        if up:
            _address_client(self.client, number)


def build_site(net: Net, links: Sequence[Shape | None]) -> Site:
    """Two namespaces and one link for each shape; None stands for a plain veth pair."""
    server, client = net.namespace("server"), net.namespace("client")
    emulated = []
    for number, shape in enumerate(links):
        up, down = f"up{number}", f"dn{number}"
        if shape is None:
            net.veth(client, up, server, down)
        else:
            emulated.append(Link(up, client, up, server, down, shape))
    emulator = net.enter(Emulator(*emulated)) if emulated else None
    for address in (*SERVER_ADDRESSES, *SERVER_ADDRESSES_6):
        server.ip("addr", "add", address, "dev", "lo")
    for number in range(len(links)):
        down = f"dn{number}"
        server.ip("addr", "add", f"10.1.{number}.1/24", "dev", down)
        server.ip("addr", "add", f"2001:db8:1:{number}::1/64", "dev", down)
        server.ip("link", "set", down, "up")
        client.ip("link", "set", f"up{number}", "up")
        _address_client(client, number)
    return Site(net, server, client, tuple(f"up{n}" for n in range(len(links))), emulator)


def network_behind(site: Site) -> Namespace:
    """A machine of a LAN for which the client is the router: its packets are forwarded, in both families."""
    lan, client = site.net.namespace("lan"), site.client
    site.net.veth(lan, "eth0", client, "lan0")
    for namespace, interface, host in ((lan, "eth0", 2), (client, "lan0", 1)):
        namespace.ip("addr", "add", f"192.168.7.{host}/24", "dev", interface)
        namespace.ip("addr", "add", f"2001:db8:7::{host}/64", "dev", interface)
        namespace.ip("link", "set", interface, "up")
    lan.ip("route", "add", "default", "via", "192.168.7.1")
    lan.ip("-6", "route", "add", "default", "via", "2001:db8:7::1")
    client.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    return lan


def _address_client(client: Namespace, number: int) -> None:
    interface, metric = f"up{number}", str(100 + number)
    client.ip("addr", "replace", f"10.1.{number}.2/24", "dev", interface)
    client.ip("-6", "addr", "replace", f"2001:db8:1:{number}::2/64", "dev", interface)
    for gateway, family in ((f"10.1.{number}.1", "-4"), (f"2001:db8:1:{number}::1", "-6")):
        route = ("default", "via", gateway, "dev", interface, "metric", metric)
        client.ip(family, "route", "replace", *route)
