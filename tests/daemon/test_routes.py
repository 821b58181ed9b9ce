"""What the settings and the tunnel's addresses come to, as routes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon.advertised import Advertised
from mqvpn.daemon.routes import Routing, tunnel_routes
from mqvpn.system.link import Netlink
from mqvpn.system.routing import TunnelRoutes
from mqvpn.system.tun import open_tun
from mqvpn.system.undo import Undo
from mqvpn.wire.address import AddressRange
from tests.lab.net import Net
from tests.system.inside import inside

BOTH = frozenset((4, 6))
V4, V6 = ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")


def routes(versions: frozenset[int] = BOTH, *, machine_has_ipv6: bool = True, **changes: Any) -> TunnelRoutes:
    settings = ClientSettings(server_addr=HostPort("vpn.example", 443), **changes)
    return tunnel_routes(settings, "mq0", versions, ipv6=machine_has_ipv6)


def texts(found: tuple[Any, ...]) -> list[str]:
    return [str(route) for route in found]


@pytest.mark.parametrize(
    ("asked", "led", "refused"),
    [
        ((), ["0.0.0.0/0", "::/0"], []),
        (("default",), ["0.0.0.0/0", "::/0"], []),
        (("none",), [], []),
        (("default", V4), ["0.0.0.0/0", "::/0", "10.0.0.0/8"], []),
        ((V4, V6), ["10.0.0.0/8", "2001:db8::/32"], []),
    ],
)
def test_what_is_asked_for(asked: tuple[Any, ...], led: list[str], refused: list[str]) -> None:
    want = routes(routes=asked)
    assert (texts(want.destinations), texts(want.refused)) == (led, refused)


@pytest.mark.parametrize(
    ("mode", "asked", "refused"),
    [
        ("auto", (), ["::/0"]),
        ("auto", (V4, V6), ["2001:db8::/32"]),
        ("auto", (V4,), []),
        ("allow", (), []),
        ("block", (), ["::/0"]),
        ("block", (V4,), ["::/0"]),
        ("block", ("none",), ["::/0"]),
    ],
)
def test_a_tunnel_without_ipv6(mode: str, asked: tuple[Any, ...], refused: list[str]) -> None:
    want = routes(frozenset((4,)), ipv6=mode, routes=asked)
    assert texts(want.refused) == refused
    assert all(route.version == 4 for route in want.destinations)
    assert routes(frozenset((4,)), ipv6=mode, routes=asked, machine_has_ipv6=False).refused == ()


def test_what_the_server_advertised_and_withdrew() -> None:
    advertised = Advertised()
    advertised.current, advertised.withdrawn = (V4, V6), (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"))
    settings = ClientSettings(server_addr=HostPort("vpn.example", 443), routes=("server",))
    want = tunnel_routes(settings, "mq0", BOTH, advertised)
    assert texts(want.destinations) == ["10.0.0.0/8", "2001:db8::/32"]
    assert texts(want.refused) == ["192.0.2.0/24", "2001:db8:1::/48"]
    allowing = replace(settings, ipv6="allow")
    assert tunnel_routes(allowing, "mq0", BOTH, advertised) == want
    assert texts(tunnel_routes(allowing, "mq0", frozenset((4,)), advertised).refused) == ["192.0.2.0/24"]
    other = replace(settings, routes=(V4,))
    assert tunnel_routes(other, "mq0", BOTH, advertised) == tunnel_routes(other, "mq0", BOTH)


@pytest.mark.netns
def test_a_withdrawn_route_leads_nothing_past_the_tunnel(net: Net) -> None:
    client = net.namespace("client")
    client.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    for link in ("eth0", "eth1"):
        client.ip("link", "set", link, "up")
    client.ip("addr", "add", "192.0.2.2/24", "dev", "eth0")
    client.ip("route", "add", "default", "via", "192.0.2.1")
    settings = ClientSettings(server_addr=HostPort("vpn.example", 443), routes=("server",))

    def run() -> list[str]:
        open_tun("mq0")
        client.ip("link", "set", "mq0", "up")
        found = []
        with Netlink() as netlink:
            routing = Routing(netlink, "mq0", settings, Undo(None))
            routing.carry([ip_network("10.9.0.2/32")])
            offer = AddressRange(IPv4Address("10.0.0.0"), IPv4Address("10.255.255.255"))
            ours = AddressRange(IPv4Address("192.0.2.0"), IPv4Address("192.0.2.255"))
            for ranges in ((), (offer, ours), ()):
                routing.advertised(ranges, ["198.51.100.1"])
                found += [client.run("ip", "route", "get", to, check=False) for to in ("10.1.2.3", "192.0.2.9")]
        return [words[words.index("dev") + 1] if "dev" in (words := answer.split()) else "none" for answer in found]

    assert inside(client, run) == ["eth0", "eth0", "mq0", "eth0", "none", "eth0"]


def test_blocked_ipv6_is_not_led_into_a_tunnel_that_carries_it() -> None:
    want = routes(ipv6="block", routes=("default",))
    assert (texts(want.destinations), texts(want.refused)) == (["0.0.0.0/0"], ["::/0"])


def test_ipv4_never_goes_past_the_tunnel() -> None:
    """A server that takes its IPv4 addresses back must not lead IPv4 past the tunnel."""
    want = routes(frozenset((6,)), ipv6="allow")
    assert (texts(want.destinations), texts(want.refused)) == (["::/0"], ["0.0.0.0/0"])


def test_local_networks() -> None:
    assert routes().lan
    assert not routes(kill_switch=True).lan
    assert routes(kill_switch=True, allow_lan=True).lan


def test_how_they_are_marked() -> None:
    want = routes(exclude=(V4,), fwmark=7, metric=50)
    assert (want.excluded, want.mark, want.metric) == ((V4,), 7, 50)
