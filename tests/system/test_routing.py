"""The client's policy routing: the plan as text, then one contract for a fake and the real kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from mqvpn.system import routing
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.routing import DEFAULT_ROUTES, EMPTY, FIRST, MARK, TABLE, Kernel, Slot, TunnelRoutes
from mqvpn.system.tun import open_tun
from tests.fakes.kernel import FakeKernel
from tests.lab.net import Namespace, Net
from tests.system.inside import inside
from tests.system.snapshot import difference, snapshot

BOTH = TunnelRoutes("tun0", DEFAULT_ROUTES)
IPV4 = TunnelRoutes("tun0", DEFAULT_ROUTES[:1])

ADD_IPV4 = [
    "add route 0.0.0.0/0 unreachable metric 4278198272",
    "add route 0.0.0.0/0 dev tun0 metric 1024",
    "add rule ipv4 28016: lookup 254 suppress_prefixlength 0",
    "add rule ipv4 28017: not fwmark 0x6d71 lookup 28017",
]


def steps(have: TunnelRoutes, want: TunnelRoutes) -> list[str]:
    return [f"{verb} {item}" for verb, item in routing.plan(frozenset(routing.desired(have)), want)]


def test_plan_routes_first_then_the_rules_that_lead_to_them() -> None:
    assert steps(EMPTY, IPV4) == ADD_IPV4


def test_plan_only_the_families_that_the_tunnel_carries() -> None:
    assert steps(IPV4, BOTH) == [
        "add route ::/0 unreachable metric 4278198272",
        "add route ::/0 dev tun0 metric 1024",
        "add rule ipv6 28016: lookup 254 suppress_prefixlength 0",
        "add rule ipv6 28017: not fwmark 0x6d71 lookup 28017",
    ]


def test_plan_removes_in_the_opposite_order() -> None:
    assert steps(IPV4, EMPTY) == [line.replace("add", "delete") for line in reversed(ADD_IPV4)]


def test_plan_nothing_when_it_is_so_already() -> None:
    assert steps(BOTH, BOTH) == []


def test_plan_a_new_interface_keeps_rules_and_unreachable_routes_so_that_nothing_leaks() -> None:
    assert steps(IPV4, TunnelRoutes("tun1", DEFAULT_ROUTES[:1])) == [
        "delete route 0.0.0.0/0 dev tun0 metric 1024",
        "add route 0.0.0.0/0 dev tun1 metric 1024",
    ]


def test_plan_routes_narrower_than_the_default() -> None:
    want = TunnelRoutes("tun0", (ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12")))
    assert steps(EMPTY, want)[:4] == [
        "add route 10.0.0.0/8 unreachable metric 4278198272",
        "add route 172.16.0.0/12 unreachable metric 4278198272",
        "add route 10.0.0.0/8 dev tun0 metric 1024",
        "add route 172.16.0.0/12 dev tun0 metric 1024",
    ]


def test_plan_what_is_excluded_or_refused() -> None:
    """Only for the families that are looked up in our table at all."""
    excluded = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    want = TunnelRoutes("tun0", (ip_network("0.0.0.0/0"),), False, (), excluded, mark=7, metric=50)
    assert steps(EMPTY, want) == [
        "add route 0.0.0.0/0 unreachable metric 4278198272",
        "add route 0.0.0.0/0 dev tun0 metric 50",
        "add route 192.0.2.0/24 throw metric 1",
        "add rule ipv4 28017: not fwmark 0x7 lookup 28017",
    ]
    assert steps(want, replace(want, refused=(ip_network("::/0"),))) == [
        "add route ::/0 unreachable metric 4278198272",
        "add route 2001:db8::/32 throw metric 1",
        "add rule ipv6 28017: not fwmark 0x7 lookup 28017",
    ]


def test_plan_adds_before_it_removes_so_that_nothing_is_out_of_the_tunnel_between() -> None:
    assert steps(IPV4, TunnelRoutes("tun0", (ip_network("10.0.0.0/8"),))) == [
        "add route 10.0.0.0/8 unreachable metric 4278198272",
        "add route 10.0.0.0/8 dev tun0 metric 1024",
        "delete route 0.0.0.0/0 dev tun0 metric 1024",
        "delete route 0.0.0.0/0 unreachable metric 4278198272",
    ]


def test_a_table_that_was_asked_for() -> None:
    kernel = FakeKernel("tun0", "tun1")
    assert routing.choose(kernel, "tun0", 77) == Slot(0, 77)
    routing.apply(kernel, BOTH, Slot(0, 77))
    assert routing.choose(kernel, "tun0", 77) == Slot(0, 77)
    assert routing.choose(kernel, "tun1") == Slot(1, TABLE + 1)
    assert routing.choose(kernel, "tun1", 78) == Slot(1, 78)
    with pytest.raises(OperationFailed, match="routing table 77: another client does"):
        routing.choose(kernel, "tun1", 77)


def test_a_slot_is_free_or_ours() -> None:
    """The first one is taken; a predecessor of ours had the third."""
    kernel = FakeKernel("tun0", "tun2")
    routing.apply(kernel, BOTH, FIRST)
    assert routing.choose(kernel, "tun2") == Slot(1, TABLE + 1)
    routing.apply(kernel, TunnelRoutes("tun2", DEFAULT_ROUTES), Slot(2, TABLE + 2))
    assert routing.choose(kernel, "tun2") == Slot(2, TABLE + 2)
    assert routing.choose(kernel, "tun3") == Slot(1, TABLE + 1)


def test_slots_do_not_meet() -> None:
    kernel = FakeKernel("tun0", "tun1")
    routing.apply(kernel, BOTH, FIRST)
    first = set(kernel.items)
    routing.apply(kernel, TunnelRoutes("tun1", DEFAULT_ROUTES), Slot(1, TABLE + 1))
    assert kernel.items > first
    routing.apply(kernel, EMPTY, Slot(1, TABLE + 1))
    assert kernel.items == first


def test_there_are_not_that_many_clients() -> None:
    kernel = FakeKernel("tun0")
    for number in range(routing.SLOTS):
        routing.apply(kernel, BOTH, Slot(number, TABLE + number))
    with pytest.raises(OperationFailed, match="64 clients have one"):
        routing.choose(kernel, "tun1")


def contract(kernel: Kernel, remove_tun: Callable[[], Any]) -> None:
    """What routing needs of a kernel, fake or real, that has the interface tun0."""
    routing.apply(kernel, BOTH, FIRST)
    applied = kernel.routes(TABLE) | kernel.rules()
    assert applied == set(routing.desired(BOTH))
    routing.apply(kernel, BOTH, FIRST)
    routing.apply(kernel, IPV4, FIRST)
    assert kernel.routes(TABLE) | kernel.rules() == set(routing.desired(IPV4))
    rule = next(iter(kernel.rules()))
    with pytest.raises(OperationFailed, match="File exists"):
        kernel.add(rule)
    kernel.delete(rule)
    kernel.delete(rule)
    excluding = TunnelRoutes(
        "tun0",
        (ip_network("10.0.0.0/8"),),
        refused=(ip_network("::/0"),),
        excluded=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")),
    )
    routing.apply(kernel, excluding, FIRST)
    assert kernel.routes(TABLE) | kernel.rules() == set(routing.desired(excluding))
    routing.apply(kernel, BOTH, FIRST)
    assert kernel.routes(TABLE) | kernel.rules() == applied
    remove_tun()
    assert {route.interface for route in kernel.routes(TABLE)} == {None}
    with pytest.raises(OperationFailed, match="No such device"):
        routing.apply(kernel, BOTH, FIRST)
    routing.apply(kernel, EMPTY, FIRST)
    assert not kernel.routes(TABLE) | kernel.rules()


def test_contract_fake() -> None:
    kernel = FakeKernel("tun0")
    contract(kernel, lambda: kernel.remove_interface("tun0"))


@pytest.mark.netns
def test_contract_kernel(net: Net) -> None:
    client = net.namespace("client")
    client.ip("link", "add", "tun0", "type", "veth", "peer", "name", "other")
    client.ip("link", "set", "other", "up")
    client.ip("link", "set", "tun0", "up")

    def run() -> None:
        with Netlink() as netlink:
            contract(netlink, lambda: client.ip("link", "delete", "tun0"))

    inside(client, run)


def uplink(net: Net) -> Namespace:
    """A client with an uplink: default routes, and rules and routes of other programs."""
    client, gateway = net.namespace("client"), net.namespace("gateway")
    net.veth(client, "eth0", gateway, "eth0")
    gateway.ip("link", "set", "eth0", "up")
    client.ip("link", "set", "eth0", "up")
    client.ip("addr", "add", "192.0.2.2/24", "dev", "eth0")
    client.ip("addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
    client.ip("route", "add", "default", "via", "192.0.2.1")
    client.ip("-6", "route", "add", "default", "via", "2001:db8::1")
    client.ip("rule", "add", "priority", "28016", "fwmark", "7", "lookup", "777")
    client.ip("rule", "add", "priority", "5000", "lookup", "777", "protocol", "99")
    client.ip("route", "add", "198.51.100.0/24", "dev", "eth0", "table", "777", "proto", "171")
    client.ip("route", "add", "203.0.113.0/24", "dev", "eth0", "table", str(TABLE), "proto", "static")
    return client


def way(client: Namespace, address: str, *more: str) -> str:
    """The interface by which the kernel sends packets to the address, or 'none'."""
    words = client.run("ip", "route", "get", address, *more, check=False).split()
    return words[words.index("dev") + 1] if "dev" in words else "none"


@pytest.mark.netns
def test_default_route_goes_into_the_tunnel_but_not_for_marked_packets(net: Net) -> None:
    client = uplink(net)

    def run() -> None:
        open_tun("tun0")
        client.ip("link", "set", "tun0", "up")
        client.ip("addr", "add", "10.9.0.2/32", "dev", "tun0")
        client.ip("addr", "add", "fd00::2/128", "dev", "tun0", "nodad")
        with Netlink() as netlink:
            routing.apply(netlink, BOTH, FIRST)
        for address in ("8.8.8.8", "2620:fe::fe"):
            assert way(client, address) == "tun0"
            assert way(client, address, "mark", str(MARK)) == "eth0"
        for neighbour in ("192.0.2.77", "2001:db8::77"):
            assert way(client, neighbour) == "eth0"

    inside(client, run)
    assert way(client, "8.8.8.8") == "none"  # the process is dead and its TUN gone, yet nothing leaks
    assert way(client, "8.8.8.8", "mark", str(MARK)) == "eth0"


@pytest.mark.netns
def test_what_is_excluded_goes_past_the_tunnel_and_what_is_refused_nowhere(net: Net) -> None:
    client = uplink(net)
    want = TunnelRoutes(
        "tun0",
        (ip_network("0.0.0.0/0"), ip_network("203.0.113.0/25")),
        refused=(ip_network("2000::/3"),),
        excluded=(ip_network("203.0.113.0/24"), ip_network("2620:fe::/48")),
    )

    def run() -> None:
        open_tun("tun0")
        client.ip("link", "set", "tun0", "up")
        client.ip("addr", "add", "10.9.0.2/32", "dev", "tun0")
        with Netlink() as netlink:
            routing.apply(netlink, want, Slot(0, 77))
        assert way(client, "8.8.8.8") == "tun0"
        assert way(client, "203.0.113.200") == "eth0"
        assert way(client, "203.0.113.1") == "tun0"  # the longer prefix counts
        assert way(client, "2620:fe::fe") == "eth0"
        assert way(client, "2001:4860::8") == "none"

    inside(client, run)


@pytest.mark.netns
def test_without_ipv6_on_the_interfaces_it_can_be_refused_too(net: Net) -> None:
    """net.ipv6.conf.all.disable_ipv6 = 1 is how many a machine does without."""
    client = net.namespace("client")
    client.sysctl(ipv6__conf__all__disable_ipv6=1)

    def run() -> None:
        with Netlink() as netlink:
            routing.apply(netlink, TunnelRoutes("tun0", refused=(ip_network("::/0"),)), FIRST)
            assert {str(route) for route in netlink.routes(FIRST.table)} == {
                f"route ::/0 unreachable metric {routing.UNREACHABLE_METRIC}"
            }
            routing.apply(netlink, EMPTY, FIRST)
            assert netlink.routes(FIRST.table) == netlink.rules() == frozenset()

    inside(client, run)


@pytest.mark.netns
def test_empty_removes_what_a_killed_client_left_and_nothing_else(net: Net) -> None:
    client = uplink(net)
    before = snapshot(client.name)

    def killed() -> None:
        open_tun("tun0")
        client.ip("link", "set", "tun0", "up")
        with Netlink() as netlink:
            routing.apply(netlink, BOTH, FIRST)
            routing.apply(netlink, BOTH, FIRST)

    def clean_up() -> None:
        with Netlink() as netlink:
            routing.apply(netlink, EMPTY, FIRST)
            routing.apply(netlink, EMPTY, FIRST)

    inside(client, killed)
    assert difference(before, snapshot(client.name))
    inside(client, clean_up)
    assert difference(before, snapshot(client.name)) == []
