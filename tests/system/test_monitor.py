"""The netlink monitor: crafted messages, then the real kernel's."""

from __future__ import annotations

import asyncio
import select
import socket
import struct

import pytest

from mqvpn.system.monitor import DELLINK, NEWADDR, NEWROUTE, RTA_OIF, Changes, Monitor, changed
from mqvpn.system.routing import PROTOCOL
from tests.lab.net import Namespace, Net
from tests.system.inside import inside


def message(kind: int, body: bytes) -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + padding


def route(protocol: int, attributes: bytes) -> bytes:
    return struct.pack("=8B", socket.AF_INET, 0, 0, 0, 254, protocol, 0, 1) + bytes(4) + attributes


OIF7 = struct.pack("=HHI", 5, 1, 0)[:5] + bytes(3) + struct.pack("=HHI", 8, RTA_OIF, 7)


def test_several_messages_in_one_datagram() -> None:
    link = message(DELLINK, struct.pack("=BxHiII", 0, 1, 3, 0, 0))
    address = message(NEWADDR, struct.pack("=4Bi", 2, 24, 0, 0, 5))
    assert list(changed(link + address + message(NEWROUTE, route(3, OIF7)))) == [3, 5, 7]


def test_a_route_without_interface_may_concern_any() -> None:
    assert list(changed(message(NEWROUTE, route(3, b"")))) == [None]


def test_our_own_routes_and_other_messages_are_nothing() -> None:
    assert list(changed(message(NEWROUTE, route(PROTOCOL, OIF7)) + message(99, bytes(20)))) == []


@pytest.mark.parametrize("size", range(40))
def test_a_cut_message_ends_the_reading(size: int) -> None:
    assert len(list(changed(message(NEWROUTE, route(3, OIF7))[:size]))) <= 1


def test_a_length_of_zero_does_not_go_round_for_ever() -> None:
    assert list(changed(bytes(64))) == []
    assert list(changed(message(NEWROUTE, route(3, bytes(64))))) == [None]


def uplink(net: Net) -> tuple[Namespace, Namespace]:
    client, gateway = net.namespace("client"), net.namespace("gateway")
    net.veth(client, "eth0", gateway, "eth0")
    return client, gateway


def after(monitor: Monitor) -> Changes:
    select.select([monitor], [], [], 5)
    return monitor.read()


@pytest.mark.netns
def test_link_carrier_address_and_route_are_seen(net: Net) -> None:
    client, gateway = uplink(net)

    def run() -> None:
        eth0 = socket.if_nametoindex("eth0")
        monitor = Monitor()
        assert not monitor.read()
        for host, act in (
            (client, "link set eth0 up"),
            (gateway, "link set eth0 up"),
            (client, "addr add 192.0.2.2/24 dev eth0"),
            (client, "addr add 2001:db8::2/64 dev eth0 nodad"),
            (client, "route add default via 192.0.2.1"),
            (client, "-6 route add default via 2001:db8::1"),
            (gateway, "link set eth0 down"),
            (client, "link delete eth0"),
        ):
            while monitor.read():
                pass
            host.ip(*act.split())
            assert eth0 in after(monitor).interfaces
        monitor.close()

    inside(client, run)


@pytest.mark.netns
def test_an_overrun_means_that_everything_may_have_changed(net: Net) -> None:
    client, _ = uplink(net)

    def run() -> None:
        monitor = Monitor()
        batch = "".join(f"addr add 10.{i >> 8}.{i & 255}.1/32 dev eth0\n" for i in range(3000))
        (net.directory / "batch").write_text(batch)
        client.run("ip", "-batch", str(net.directory / "batch"))
        assert monitor.read().everything
        client.ip("link", "set", "lo", "down")  # not dropped, although not all was read that came before
        assert socket.if_nametoindex("lo") in after(monitor).interfaces

    inside(client, run)


@pytest.mark.netns
def test_it_wakes_an_event_loop(net: Net) -> None:
    client, _ = uplink(net)

    async def run() -> bool:
        monitor, seen = Monitor(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor, lambda: seen.set() if monitor.read() else None)
        client.ip("link", "set", "eth0", "up")
        await asyncio.wait_for(seen.wait(), 5)
        loop.remove_reader(monitor)
        monitor.close()
        return True

    assert inside(client, lambda: asyncio.run(run()))
