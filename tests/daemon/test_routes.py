"""What the settings and the tunnel's addresses come to, as routes."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon.routes import tunnel_routes
from mqvpn.system.routing import TunnelRoutes

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
