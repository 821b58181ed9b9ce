"""What is told of the routes in force: where a destination goes, and why."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon.advertised import MAX_IGNORED, Advertised
from mqvpn.daemon.routes import tunnel_routes
from mqvpn.daemon.routestatus import MAX_TOLD, route_figures
from mqvpn.wire.address import AddressRange
from tests.daemon.test_advertised import ranges

V4 = ip_network("10.0.0.0/8")


def told(advertised: Advertised, versions: frozenset[int] = frozenset((4, 6)), **changes: Any) -> set[tuple[str, ...]]:
    settings = ClientSettings(server_addr=HostPort("vpn.example", 443), **changes)
    wanted = tunnel_routes(settings, "mq0", versions, advertised)
    return {tuple(row.values()) for row in route_figures(settings, wanted, advertised)}


def test_what_the_settings_lead_where() -> None:
    assert told(Advertised(), frozenset((4,)), exclude=(V4,)) == {
        ("0.0.0.0/0", "tunnel", "Routes = default"),
        ("::/0", "nowhere", "the tunnel carries no IPv6"),
        ("10.0.0.0/8", "past", "Exclude"),
    }
    assert told(Advertised(), routes=(V4,), ipv6="block") == {
        ("10.0.0.0/8", "tunnel", "Routes = 10.0.0.0/8"),
        ("::/0", "nowhere", "IPv6 = block"),
    }


def test_what_the_server_advertises_is_followed_or_ignored_for_a_reason() -> None:
    advertised = Advertised()
    one = AddressRange(ip_address("10.4.0.0"), ip_address("10.4.0.255"), protocol=17)
    advertised.update([*ranges("10.1.0.0/16", "10.2.0.0/16", "127.0.0.0/8"), one], [ip_network("10.2.0.0/16")])
    assert told(advertised, routes=("server",)) == {
        ("10.1.0.0/16", "tunnel", "advertised by the server"),
        ("10.2.0.0/16", "ignored", "advertised, but it is within a network of this machine, or the server itself"),
        ("127.0.0.0/8", "ignored", "advertised, but such addresses are not forwarded"),
        ("10.4.0.0/24", "ignored", "advertised, but it is for protocol 17 only"),
    }
    advertised.update((), ())
    assert told(advertised, routes=("server",)) == {("10.1.0.0/16", "nowhere", "no longer advertised by the server")}


def test_what_nobody_asked_for_is_told_unless_it_is_in_the_tunnel_anyway() -> None:
    advertised = Advertised()
    advertised.overhear(ranges("0.0.0.0/0"))
    assert told(advertised, frozenset((4,)), ipv6="allow") == {("0.0.0.0/0", "tunnel", "Routes = default")}
    assert told(advertised, routes=(V4,)) == {
        ("10.0.0.0/8", "tunnel", "Routes = 10.0.0.0/8"),
        ("0.0.0.0/0", "ignored", "advertised, but Routes does not ask the server"),
    }


def test_there_is_an_end_to_it() -> None:
    many = ranges(*(f"10.{high}.{low}.0/24" for high in range(4) for low in range(200)))
    advertised = Advertised()
    advertised.update(many, ())
    rows = told(advertised, routes=("server",))
    assert len(rows) == MAX_TOLD + MAX_IGNORED
    assert ("10.2.112.0/24", "ignored", "advertised, but no more than 512 are followed") in rows
    advertised.overhear(many)
    assert len(advertised.ignored) == MAX_IGNORED
