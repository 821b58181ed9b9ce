"""Interfaces, addresses and route look-ups against the real kernel."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address, ip_interface

import pytest

from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Interface, Netlink, TunLink
from mqvpn.system.tun import open_tun
from tests.lab.net import Namespace, Net
from tests.system.inside import inside

pytestmark = pytest.mark.netns

HOME = ip_interface("10.9.0.2/24")
SECOND = ip_interface("10.9.0.3/24")
HOME6 = ip_interface("fd00::2/64")


def addresses(interface: Interface) -> set[str]:
    """Without the link-local ones, whose numbers are random."""
    return {str(address) for address in interface.addresses if not address.is_link_local}


def test_configure_brings_the_tun_up_with_these_addresses_alone(net: Net) -> None:
    client = net.namespace("client")

    def run() -> None:
        open_tun("tun0")
        with Netlink() as netlink:
            first = TunLink(name="tun0", mtu=1350, addresses=(HOME, SECOND, HOME6), gso_max_size=60000)
            netlink.configure(first)
            netlink.configure(first)
            tun = netlink.interfaces()["tun0"]
            assert (tun.up, tun.carrier, tun.mtu) == (True, True, 1350)
            assert addresses(tun) == {"10.9.0.2/24", "10.9.0.3/24", "fd00::2/64"}
            assert "qlen 1000" in client.ip("link", "show", "tun0")
            assert "gso_max_size 60000" in client.ip("-d", "link", "show", "tun0")
            # Taking the primary address away takes the kernel's secondary with it: it must be put back.
            netlink.configure(TunLink(name="tun0", mtu=1280, addresses=(SECOND,)))
            tun = netlink.interfaces()["tun0"]
            assert (tun.mtu, addresses(tun)) == (1280, {"10.9.0.3/24"})

    inside(client, run)


def test_refused_gso_size_is_no_error(net: Net) -> None:
    def run() -> None:
        open_tun("tun0")
        with Netlink() as netlink:
            netlink.configure(TunLink(name="tun0", mtu=1280, gso_max_size=1 << 31))

    inside(net.namespace("client"), run)


def test_missing_interface_is_named(net: Net) -> None:
    def run() -> None:
        with (
            Netlink() as netlink,
            pytest.raises(OperationFailed, match=r"tun9.*No such device; check the name"),
        ):
            netlink.configure(TunLink(name="tun9", mtu=1280))

    inside(net.namespace("client"), run)


def test_every_call_works_inside_a_running_event_loop(net: Net) -> None:
    async def run() -> bool:
        with Netlink() as netlink:
            return netlink.interfaces()["lo"].up

    assert inside(net.namespace("client"), lambda: asyncio.run(run()))


def test_interfaces_without_carrier_and_tentative_addresses(net: Net) -> None:
    client, gateway = net.namespace("client"), net.namespace("gateway")
    net.veth(client, "eth0", gateway, "eth0")
    client.ip("link", "set", "eth0", "up")
    client.ip("addr", "add", "192.0.2.2/24", "dev", "eth0")
    client.sysctl(ipv6__conf__eth0__accept_dad=1, ipv6__conf__eth0__dad_transmits=60)
    client.ip("addr", "add", "2001:db8::2/64", "dev", "eth0")

    def eth0() -> Interface:
        with Netlink() as netlink:
            return netlink.interfaces()["eth0"]

    state = inside(client, eth0)
    assert (state.up, state.carrier) == (True, False)
    assert addresses(state) == {"192.0.2.2/24"}
    gateway.ip("link", "set", "eth0", "up")
    assert inside(client, eth0).carrier


def two_uplinks(net: Net) -> Namespace:
    client, gateway = net.namespace("client"), net.namespace("gateway")
    for number in (1, 2):
        net.veth(client, f"eth{number}", gateway, f"eth{number}")
        for side, host in ((client, 2), (gateway, 1)):
            side.ip("link", "set", f"eth{number}", "up")
            side.ip("addr", "add", f"192.0.{number}.{host}/24", "dev", f"eth{number}")
            side.ip("addr", "add", f"2001:db8:{number}::{host}/64", "dev", f"eth{number}", "nodad")
    client.ip("route", "add", "default", "via", "192.0.1.1", "dev", "eth1")
    client.ip("-6", "route", "add", "default", "via", "2001:db8:1::1", "dev", "eth1")
    return client


SERVER, SERVER6 = ip_address("198.51.100.1"), ip_address("2001:db8:ffff::1")


def test_reaches_only_by_interfaces_that_have_a_route(net: Net) -> None:
    client = two_uplinks(net)

    def run() -> None:
        with Netlink() as netlink:
            for server in (SERVER, SERVER6):
                assert netlink.reaches(server, "eth1")
                assert not netlink.reaches(server, "eth2")
            assert netlink.reaches(ip_address("192.0.2.1"), "eth2")
            assert netlink.reaches(ip_address("2001:db8:2::1"), "eth2")
            assert not netlink.reaches(SERVER, "eth9")
            for zone in ("eth2", socket.if_nametoindex("eth2")):
                assert netlink.reaches(ip_address(f"fe80::1%{zone}"), "eth2")
                assert not netlink.reaches(ip_address(f"fe80::1%{zone}"), "eth1")
            client.ip("route", "add", "default", "via", "192.0.2.1", "dev", "eth2", "metric", "500")
            client.ip("-6", "route", "add", "default", "via", "2001:db8:2::1", "dev", "eth2", "metric", "5000")
            for server in (SERVER, SERVER6):
                assert netlink.reaches(server, "eth1")
                assert netlink.reaches(server, "eth2")
            client.ip("route", "add", "unreachable", f"{SERVER}/32")
            assert not netlink.reaches(SERVER, "eth1")

    inside(client, run)


def test_reaches_follows_the_rules_for_the_mark(net: Net) -> None:
    client = two_uplinks(net)
    client.ip("rule", "add", "not", "fwmark", "0x6d71", "lookup", "777")
    client.ip("route", "add", "unreachable", "default", "table", "777")

    def run() -> tuple[bool, bool]:
        with Netlink() as netlink:
            return netlink.reaches(SERVER, "eth1"), netlink.reaches(SERVER, "eth1", 0x6D71)

    assert inside(client, run) == (False, True)


def test_egress_is_the_interface_that_packets_leave_by(net: Net) -> None:
    client = two_uplinks(net)
    client.ip("link", "set", "eth2", "mtu", "9000")
    client.ip("rule", "add", "from", "192.0.2.2", "lookup", "778")
    client.ip("route", "add", "default", "via", "192.0.2.1", "dev", "eth2", "table", "778")
    client.ip("rule", "add", "fwmark", "0x6d71", "lookup", "778")

    def run() -> None:
        with Netlink() as netlink:
            index = {name: interface.index for name, interface in netlink.interfaces().items()}
            assert netlink.egress(SERVER) == netlink.egress(SERVER6) == (index["eth1"], 1500)
            assert netlink.egress(SERVER, ip_address("192.0.2.2")) == (index["eth2"], 9000)
            assert netlink.egress(SERVER, mark=0x6D71) == (index["eth2"], 9000)
            assert netlink.egress(ip_address(f"fe80::1%{index['eth2']}")) == (index["eth2"], 9000)
            assert netlink.egress(ip_address("fe80::1%eth2")) == (index["eth2"], 9000)
            assert netlink.source(SERVER, "eth2", 0x6D71) == netlink.source(SERVER, mark=0x6D71) == "192.0.2.2"
            assert netlink.source(SERVER6) == netlink.source(SERVER6, "eth1") != ""
            client.ip("route", "add", "unreachable", f"{SERVER}/32")
            assert netlink.egress(SERVER) == (0, 0)
            assert netlink.source(SERVER) == ""

    inside(client, run)
