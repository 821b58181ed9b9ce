"""Packets of every size and both families pass the tunnel, over one path and over two."""

from __future__ import annotations

import time

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import Stream, ping, transfer
from tests.lab.tunnel import INNER, INNER_6, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

HEADERS = {INNER: 28, INNER_6: 48}  # IP and ICMP echo


@pytest.mark.parametrize("paths", [1, 2])
def test_sizes(net: Net, paths: int) -> None:
    with tunnel(build_site(net, [None] * paths)) as t:
        for address, headers in HEADERS.items():
            # The last two are larger than the tunnel's MTU: the sender's kernel cuts them.
            for size in (64, 128, 576, 1280, 1400, 3000):
                answer = ping(t.site.client, address, size=size - headers)
                assert answer.received == answer.sent, f"{size} bytes to {address}: {answer.output}"
        for address, headers in ((t.client_address, 28), (t.client_address_6, 48)):
            assert ping(t.site.server, address, size=1280 - headers).received == 3


@pytest.mark.parametrize(
    ("family", "paths"), [(4, 1), (6, 2), *(pytest.param(*both, marks=pytest.mark.long) for both in ((6, 1), (4, 2)))]
)
def test_tcp_and_udp_both_ways(net: Net, paths: int, family: int) -> None:
    with tunnel(build_site(net, [None] * paths)) as t:
        up = (t.site.client, t.site.server, INNER if family == 4 else INNER_6)
        down = (t.site.server, t.site.client, t.client_address if family == 4 else t.client_address_6)
        for sender, receiver, address in (up, down):
            assert transfer(sender, receiver, address, seconds=1).mbit > 100
            for size in (64, 1200):
                with Stream(sender, receiver, address, interval=size * 8 / 2e6, size=size) as stream:  # 2 Mbit/s
                    time.sleep(1.5)
                assert stream.result.sent * size * 8 > 1.8e6
                assert stream.result.lost / stream.result.sent < 0.01


def test_too_big_is_answered_by_the_tunnel(net: Net) -> None:
    """With the MTU of the interface raised by hand the kernel lets them pass, so the tunnel must refuse."""
    with tunnel(build_site(net, [None])) as t:
        t.site.client.ip("link", "set", "mqc0", "mtu", "1500")
        for address, headers, answer in ((INNER, 28, "Frag needed"), (INNER_6, 48, "Packet too big")):
            refused = ping(t.site.client, address, size=1500 - headers, fragment=False)
            assert refused.received == 0
            assert answer in refused.output


def test_the_world_behind_the_server(net: Net) -> None:
    """The default route leads through the tunnel; the server forwards under its own address."""
    site = build_site(net, [None])
    world = net.namespace("world")
    net.veth(site.server, "eth0", world, "eth0")
    for namespace, host in ((site.server, 1), (world, 2)):
        namespace.ip("addr", "add", f"203.0.113.{host}/24", "dev", "eth0")
        namespace.ip("addr", "add", f"2001:db8:113::{host}/64", "dev", "eth0")
        namespace.ip("link", "set", "eth0", "up")
    with tunnel(site) as t:
        assert ping(t.site.client, "203.0.113.2").received == 3
        assert ping(t.site.client, "2001:db8:113::2").received == 3
