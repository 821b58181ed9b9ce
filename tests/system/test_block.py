"""The kill switch on a real nftables: what leaves by the uplink, judged by a capture there."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from ipaddress import ip_address

import pytest

from mqvpn.system import block
from mqvpn.system.block import Block
from mqvpn.system.errors import OperationFailed
from mqvpn.system.routing import MARK
from tests.lab.capture import Capture
from tests.lab.net import Namespace, Net
from tests.system.inside import inside
from tests.system.snapshot import difference, snapshot

WORLD, WORLD6 = "203.0.113.9", "2001:db8:9::9"
NEIGHBOUR = "192.168.7.9"
SERVER = (WORLD, 443)
SHUT = Block(name="tun0", tun="tun0", mark=MARK)


@pytest.fixture
def road(net: Net) -> tuple[Namespace, Namespace, Namespace]:
    """A machine behind the host, the host with its uplink `eth0`, and the world: routed, both families."""
    behind, host, world = net.namespace("behind"), net.namespace("host"), net.namespace("world")
    net.veth(behind, "eth0", host, "lan0")
    net.veth(host, "eth0", world, "eth0")
    for machine, interface, *addresses in (
        (behind, "eth0", "192.0.2.2/24", "2001:db8:2::2/64"),
        (host, "lan0", "192.0.2.1/24", "2001:db8:2::1/64"),
        (host, "eth0", "203.0.113.1/24", "2001:db8:9::1/64", "192.168.7.1/24"),
        (world, "eth0", f"{WORLD}/24", f"{WORLD6}/64", f"{NEIGHBOUR}/24"),
    ):
        machine.ip("link", "set", interface, "up")
        for address in addresses:
            machine.ip("addr", "add", address, "dev", interface)
    for machine, gateway, gateway6 in ((behind, "192.0.2.1", "2001:db8:2::1"), (world, "203.0.113.1", "2001:db8:9::1")):
        machine.ip("route", "add", "default", "via", gateway)
        machine.ip("-6", "route", "add", "default", "via", gateway6)
    host.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    return behind, host, world


def talk(mark: int = 0, destinations: tuple[str, ...] = (WORLD, WORLD6, "224.0.0.251", "255.255.255.255")) -> None:
    """Send by UDP to these places, port 443 and 53, and try TCP and an echo to the first ones."""
    for address in destinations:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
            if mark:
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            for port in (443, 53):
                with suppress(OSError):
                    udp.sendto(b"hello", (address, port))
        if mark == 0:
            with suppress(OSError):
                socket.create_connection((address, 80), timeout=0.2).close()


def talk_all(behind: Namespace, host: Namespace) -> None:
    inside(host, talk)
    inside(behind, talk)
    for machine in (behind, host):
        for address in (WORLD, WORLD6):
            machine.run("ping", "-n", "-c1", "-W1", address, check=False)


@pytest.mark.netns
def test_without_it_all_of_this_would_leave(road: tuple[Namespace, Namespace, Namespace]) -> None:
    """Else the next test shows nothing."""
    behind, host, _ = road
    with Capture(host, ["eth0"]) as capture:
        talk_all(behind, host)
    leaks = capture.leaks([SERVER])
    assert {packet.protocol for packet in leaks} >= {1, 6, 17, 58}
    assert {packet.source for packet in leaks} >= {"192.0.2.2", "203.0.113.1", "2001:db8:2::2", "2001:db8:9::1"}


@pytest.mark.netns
@pytest.mark.parametrize("lan", [False, True])
def test_nothing_leaves_but_the_tunnel(road: tuple[Namespace, Namespace, Namespace], lan: bool) -> None:
    behind, host, world = road
    inside(host, block.apply, Block(name="tun0", tun="tun0", mark=MARK, lan=lan))
    with Capture(host, ["eth0"]) as capture:
        talk_all(behind, host)
        inside(host, talk, 0, (NEIGHBOUR,))
        inside(host, talk, MARK, (WORLD,))
        world.run("ping", "-n", "-c1", "-W1", "203.0.113.1", check=False)  # an answer would leave
    leaks = [packet for packet in capture.leaks([SERVER]) if packet.dport != 53 or packet.destination != WORLD]
    assert {packet.destination for packet in leaks} == ({NEIGHBOUR, "224.0.0.251", "255.255.255.255"} if lan else set())
    assert SERVER in {(packet.destination, packet.dport) for packet in capture.packets}


@pytest.mark.netns
def test_what_is_blocked_is_refused_at_once(road: tuple[Namespace, Namespace, Namespace]) -> None:
    """Programs are told, instead of waiting for an answer that cannot come."""
    _, host, _ = road

    def connect() -> bool:
        try:
            socket.create_connection((WORLD, 80), timeout=5).close()
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    inside(host, block.apply, SHUT)
    assert inside(host, connect)


@pytest.mark.netns
def test_links_stay_up(road: tuple[Namespace, Namespace, Namespace]) -> None:
    """Neighbours are found anew, and a DHCP lease can be renewed."""
    _, host, world = road
    inside(host, block.apply, SHUT)
    host.ip("neigh", "flush", "dev", "eth0")
    with Capture(host, ["eth0"]) as capture:
        inside(host, talk, MARK, (WORLD, WORLD6))
        inside(host, renew)
    assert {(packet.sport, packet.dport) for packet in capture.packets} >= {(68, 67), (546, 547)}
    assert WORLD6 in world.ip("-6", "addr", "show", "dev", "eth0")
    assert {"REACHABLE", "STALE", "DELAY"} & set(host.ip("neigh", "show", WORLD6).split())


def renew() -> None:
    for family, own, address, port in (
        (socket.AF_INET, 68, WORLD, 67),
        (socket.AF_INET6, 546, "ff02::1:2", 547),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
            udp.bind(("", own))
            udp.sendto(b"renew", (address, port))


RECEIVE = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 5353)); udp.settimeout(float(sys.argv[1])); print("ready", flush=True)
try: udp.recv(100); print("got")
except TimeoutError: print("nothing")
"""


@pytest.mark.netns
@pytest.mark.parametrize("shut", [False, True])
def test_answers_to_an_inner_address_must_come_by_the_tunnel(
    road: tuple[Namespace, Namespace, Namespace], shut: bool
) -> None:
    """CVE-2019-14899: a neighbour must not find out or write into what runs inside the tunnel."""
    _, host, world = road
    host.ip("tuntap", "add", "tun0", "mode", "tun")
    host.ip("addr", "add", "10.77.0.5/32", "dev", "tun0")
    host.ip("link", "set", "tun0", "up")
    world.ip("route", "add", "10.77.0.5", "via", "203.0.113.1")
    addresses = (ip_address("10.77.0.5"),) if shut else ()
    inside(host, block.apply, Block(name="tun0", tun="tun0", mark=MARK, addresses=addresses))
    listener = host.popen(sys.executable, "-c", RECEIVE, "1" if shut else "9", stdout=-1, text=True)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    inside(world, send_to_inner)
    assert listener.communicate(timeout=20)[0] == ("nothing\n" if shut else "got\n")


def send_to_inner() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"injected", ("10.77.0.5", 5353))


@pytest.mark.netns
def test_it_is_lifted_and_nothing_is_left(road: tuple[Namespace, Namespace, Namespace]) -> None:
    _, host, _ = road
    host.run("nft", "add table inet filter; add chain inet filter input")
    before = snapshot(host.name)
    for _ in range(2):
        inside(host, block.apply, SHUT)
        assert inside(host, block.stands, "tun0")
    for _ in range(2):
        inside(host, block.lift, "tun0")
        assert not inside(host, block.stands, "tun0")
    assert difference(before, snapshot(host.name)) == []


@pytest.mark.netns
def test_a_refused_change_leaves_the_old_block_whole(road: tuple[Namespace, Namespace, Namespace]) -> None:
    _, host, _ = road
    inside(host, block.apply, SHUT)
    before = snapshot(host.name)

    def break_it() -> None:
        with pytest.raises(OperationFailed, match="block traffic outside"):
            block.apply(Block(name="tun0", tun='tun0" ! "', mark=MARK))

    inside(host, break_it)
    assert difference(before, snapshot(host.name)) == []


def test_every_client_has_a_table_of_its_own() -> None:
    names = {block.table_of(name) for name in ("mq-a", "mq_a", "mq.a", "mq!a", "mq21a")}
    assert len(names) == 5
