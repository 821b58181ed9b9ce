"""Which interface can be used for what, as interfaces come, change and go."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

import pytest

from mqvpn.daemon.uplinks import UNBOUND, Uplinks
from mqvpn.system.link import Interface
from mqvpn.system.monitor import Changes
from mqvpn.tunnel.paths import Uplink

V4, V6 = ("192.0.2.1", 443), ("2001:db8::1", 443)
ETH0 = Interface("eth0", 7, True, True, 1500, frozenset({ip_interface("10.0.0.2/24")}))


class FakeNetlink:
    """Interfaces that a test changes, and the interfaces that have a route to the server."""

    def __init__(self, *interfaces: Interface) -> None:
        self.table = {interface.name: interface for interface in interfaces}
        self.routed = set(self.table)

    def interfaces(self) -> dict[str, Interface]:
        return dict(self.table)

    def egress(self, address: IPv4Address | IPv6Address, mark: int | None = None) -> tuple[int, int]:
        best = next((self.table[name] for name in sorted(self.routed)), None)
        return (best.index, best.mtu) if best else (0, 0)

    def source(self, address: IPv4Address | IPv6Address, interface: str = "", mark: int | None = None) -> str:
        names = [interface] if interface else sorted(self.routed)
        found = {own.version: str(own.ip) for name in reversed(names) for own in self.table[name].addresses}
        return found.get(address.version, "")

    def reaches(self, address: IPv4Address | IPv6Address, interface: str, mark: int | None = None) -> bool:
        return interface in self.routed


class FakePassed:
    """Opens sockets without binding them, which needs rights that a test has not."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def path_socket(self, interface: str, index: int, mark: int) -> socket.socket:
        self.opened.append(interface)
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def forget_path(self, interface: str) -> None:
        self.opened = [name for name in self.opened if name != interface]


class FakePump:
    """The sockets in use by number."""

    def __init__(self) -> None:
        self.sockets: dict[int, Any] = {}
        self.passed = FakePassed()

    def add_socket(self, number: int, udp: socket.socket) -> None:
        self.sockets[number] = udp

    def remove_socket(self, number: int) -> None:
        del self.sockets[number]


def build(netlink: FakeNetlink, *interfaces: str) -> tuple[Uplinks, FakePump]:
    pump = FakePump()
    uplinks = Uplinks(netlink, pump, interfaces, pump.passed)  # type: ignore[arg-type]
    uplinks.servers = [V4, V6]
    return uplinks, pump


def test_addresses_decide_which_server_address_is_reached() -> None:
    both = replace(ETH0, addresses=ETH0.addresses | {ip_interface("2001:db8:1::2/64")})
    for interface, servers in ((ETH0, [V4]), (both, [V4, V6]), (replace(ETH0, addresses=frozenset()), [])):
        uplinks, _ = build(FakeNetlink(interface), "eth0")
        with uplinks:
            assert [way.remote for way in uplinks.current()["eth0"]] == servers


@pytest.mark.parametrize("wanted", [("eth0",), ()])
def test_each_way_knows_which_server_it_leads_to(wanted: tuple[str, ...]) -> None:
    second = ("192.0.2.2", 443)
    uplinks, _ = build(FakeNetlink(ETH0), *wanted)
    with uplinks:
        uplinks.lead_to({0: [V4], 1: [second, V4]})  # what both have is the first one's
        [ways] = uplinks.current().values()
        assert [(way.remote, way.server) for way in ways] == [(V4, 0), (second, 1)]
        uplinks.lead_to({1: [second]})
        [ways] = uplinks.current().values()
        assert [(way.remote, way.server) for way in ways] == [(second, 1)]


@pytest.mark.parametrize("change", [{"up": False}, {"carrier": False}, {"addresses": frozenset()}])
def test_an_interface_loses_what_it_needs(change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    netlink = FakeNetlink(ETH0)
    uplinks, pump = build(netlink, "eth0")
    with uplinks:
        assert uplinks.current()["eth0"]
        netlink.table["eth0"] = replace(ETH0, **change)
        assert uplinks.current() == {"eth0": ()}
        assert list(pump.sockets) == [0]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    assert pump.sockets == {}


def test_an_interface_without_a_route_to_the_server() -> None:
    netlink = FakeNetlink(ETH0)
    netlink.routed.clear()
    uplinks, _ = build(netlink, "eth0")
    with uplinks:
        assert uplinks.current() == {"eth0": ()}


def test_an_interface_that_comes_later_and_is_replaced() -> None:
    netlink = FakeNetlink()
    uplinks, pump = build(netlink, "eth0")
    with uplinks:
        assert uplinks.current() == {"eth0": ()}
        assert pump.passed.opened == []
        netlink.table["eth0"] = ETH0
        netlink.routed.add("eth0")
        assert uplinks.current()["eth0"]
        uplinks.current()
        assert pump.passed.opened == ["eth0"]
        netlink.table["eth0"] = replace(ETH0, index=8)
        assert uplinks.current()["eth0"]
        assert pump.passed.opened == ["eth0", "eth0"]
        del netlink.table["eth0"]
        assert uplinks.current() == {"eth0": ()}
        assert pump.sockets == {}


def test_without_paths_one_socket_is_not_bound() -> None:
    uplinks, pump = build(FakeNetlink())
    with uplinks:
        assert pump.passed.opened == [UNBOUND]
        assert uplinks.current() == {UNBOUND: (Uplink(UNBOUND, 0, V4), Uplink(UNBOUND, 0, V6))}
        assert [way.largest for way in uplinks.current()[UNBOUND]] == [0, 0]
        assert uplinks.concerned(Changes(frozenset({7})))  # it may become the way to the server
        assert not uplinks.concerned(Changes())
    assert pump.sockets == {}


def test_without_paths_the_kernels_choice_of_an_interface_tells_the_size() -> None:
    netlink = FakeNetlink(ETH0)
    uplinks, _ = build(netlink)
    with uplinks:
        assert [way.largest for way in uplinks.current()[UNBOUND]] == [1472, 1452]
        netlink.table["eth0"] = replace(ETH0, mtu=9000)
        assert [way.largest for way in uplinks.current()[UNBOUND]] == [8972, 8952]


@pytest.mark.parametrize("mtu", [1400, 1500, 9000])
def test_the_interfaces_mtu_tells_what_a_path_may_take(mtu: int) -> None:
    both = replace(ETH0, addresses=ETH0.addresses | {ip_interface("2001:db8:1::2/64")}, mtu=mtu)
    uplinks, _ = build(FakeNetlink(both), "eth0")
    with uplinks:
        assert [way.largest for way in uplinks.current()["eth0"]] == [mtu - 28, mtu - 48]


def test_an_interface_with_a_tiny_mtu_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    uplinks, _ = build(FakeNetlink(replace(ETH0, mtu=1340)), "eth0")
    with uplinks:
        assert uplinks.current() == {"eth0": ()}
    assert "eth0: MTU 1340 is too small, 1379 are needed" in caplog.text


def test_carriers_are_the_paths_or_else_what_leads_to_the_server() -> None:
    netlink = FakeNetlink(ETH0, replace(ETH0, name="eth1", index=8), replace(ETH0, name="eth2", up=False))
    netlink.routed = {"eth0", "eth2"}
    assert build(netlink, "eth1", "wwan0")[0].carriers() == ["eth1", "wwan0"]
    assert build(netlink)[0].carriers() == ["eth0"]


def test_only_changes_of_our_interfaces_matter() -> None:
    netlink = FakeNetlink(ETH0)
    uplinks, _ = build(netlink, "eth0")
    with uplinks:
        assert uplinks.concerned(Changes(frozenset({99})))  # it is not open yet: any news may be its coming
        uplinks.current()
        assert not uplinks.concerned(Changes(frozenset({99})))
        assert uplinks.concerned(Changes(frozenset({7})))
        assert uplinks.concerned(Changes(everything=True))


def test_other_interfaces_are_used_after_a_reload() -> None:
    wlan0 = replace(ETH0, name="wlan0", index=9)
    netlink = FakeNetlink(ETH0, wlan0)
    uplinks, pump = build(netlink, "eth0")
    with uplinks:
        assert uplinks.current()["eth0"]
        assert uplinks.replace(("wlan0", "usb0")) == ["eth0"]
        assert [way.socket for way in uplinks.current()["wlan0"]] == [1]
        assert set(pump.sockets) == {0, 1}  # the first may still say goodbye
        uplinks.remove()
        assert set(pump.sockets) == {1}
        assert pump.passed.opened == ["wlan0"]
        assert uplinks.replace(("wlan0",)) == ["usb0"]
        uplinks.remove()
        assert uplinks.replace(()) == ["wlan0"]
        uplinks.remove()
        assert uplinks.current()[UNBOUND]
    assert pump.sockets == {}


def test_while_the_servers_addresses_are_unknown_every_change_matters() -> None:
    for interfaces in ((), ("eth0",)):
        uplinks, _ = build(FakeNetlink(ETH0), *interfaces)
        with uplinks:
            uplinks.current()
            uplinks.servers = []
            assert uplinks.concerned(Changes(frozenset({99})))


def test_a_way_that_was_not_there_before_is_a_gain() -> None:
    """Another address, another interface of the kernel's choice; but not what goes, nor what is merely told again."""
    eth1 = replace(ETH0, name="eth1", index=8, addresses=frozenset({ip_interface("10.0.1.2/24")}))
    netlink = FakeNetlink(ETH0, eth1)
    netlink.routed = {"eth1"}
    uplinks, _ = build(netlink)
    with uplinks:
        uplinks.current()
        assert uplinks.gained
        uplinks.current()
        assert not uplinks.gained
        netlink.routed = {"eth0", "eth1"}  # a second link, with a better route
        assert [way.local for way in uplinks.current()[UNBOUND]] == ["10.0.0.2", ""]
        assert uplinks.gained
        netlink.routed.clear()
        uplinks.current()
        netlink.table["eth0"] = replace(ETH0, addresses=frozenset({ip_interface("10.0.0.77/24")}))
        netlink.routed = {"eth0"}
        uplinks.current()
        assert uplinks.gained


def test_each_decision_about_an_interface_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    netlink = FakeNetlink(ETH0)
    uplinks, _ = build(netlink, "eth0")
    other = frozenset({ip_interface("10.0.0.77/24")})
    with uplinks:
        for change in ({}, {}, {"addresses": other}, {"carrier": False}, {"up": False}, {"up": False}, {}):
            netlink.table["eth0"] = replace(ETH0, **change)  # type: ignore[arg-type]
            uplinks.current()
    assert [record.getMessage() for record in caplog.records] == [
        "eth0: can be used from 10.0.0.2", "eth0: can be used from 10.0.0.77",
        "eth0: no carrier", "eth0: down", "eth0: can be used from 10.0.0.2",
    ]  # fmt: skip


def test_a_pattern_takes_what_comes_and_forgets_what_goes() -> None:
    netlink = FakeNetlink(replace(ETH0, name="wlan0", index=9))
    uplinks, pump = build(netlink, "eth*")
    with uplinks:
        assert uplinks.current() == {}
        netlink.table["eth0"] = ETH0
        netlink.routed.add("eth0")
        assert uplinks.concerned(Changes(frozenset({7})))
        assert [way.interface for way in uplinks.current()["eth0"]] == ["eth0"]
        assert uplinks.names() == uplinks.carriers() == ["eth0"]
        del netlink.table["eth0"]
        assert uplinks.current() == {"eth0": ()}  # told once, so that its path is given up
        assert (uplinks.current(), pump.sockets) == ({}, {})


def test_auto_is_what_leads_to_the_server_and_stays_while_it_is_there() -> None:
    netlink = FakeNetlink(ETH0, replace(ETH0, name="docker0", index=8), replace(ETH0, name="tun0", index=9, kind="tun"))
    netlink.routed = {"eth0", "tun0"}
    uplinks, _ = build(netlink, "auto")
    with uplinks:
        assert list(uplinks.current()) == ["eth0"]
        netlink.table["eth0"] = replace(ETH0, carrier=False)
        assert uplinks.current() == {"eth0": ()}
        assert uplinks.names() == ["eth0"]
        assert uplinks.replace(("eth*",)) == []
        assert uplinks.replace(("wlan0",)) == ["eth0"]
        uplinks.remove()
