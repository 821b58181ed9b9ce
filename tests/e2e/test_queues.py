"""Queues are short and fair: a full flow hardly delays a ping beside it, a client that stands still no other."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from mqvpn.system.tun import COUNTERS
from tests.lab.links import Shape
from tests.lab.net import Namespace, Net
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.traffic import Transfer, ping
from tests.lab.tunnel import INNER, client_daemon, inner_addresses, server_daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

ADDED = 20  # ms


def dropped_before(namespace: Namespace, interface: str) -> int:
    """Packets that the kernel dropped because nobody had read the TUN device."""
    assert "tx_dropped" in COUNTERS
    return int(namespace.run("cat", f"/sys/class/net/{interface}/statistics/tx_dropped"))


@pytest.mark.parametrize("shape", [None, Shape(rate=300, delay=10)], ids=["unshaped", "300M"])
@pytest.mark.parametrize("upload", [True, pytest.param(False, marks=pytest.mark.long)], ids=["upload", "download"])
def test_a_full_flow_delays_a_ping_beside_it_little(net: Net, upload: bool, shape: Shape | None) -> None:
    site = build_site(net, (shape,))
    with tunnel(site) as opened:
        idle = ping(site.client, INNER, count=10).median_ms
        ends = (site.client, site.server, INNER) if upload else (site.server, site.client, opened.client_address)
        flow = Transfer(*ends, seconds=6).start()
        time.sleep(2)
        loaded = ping(site.client, INNER, count=30)
        mbit = flow.result().mbit
        drops = [dropped_before(site.client, "mqc0"), dropped_before(site.server, "mqs0")]
    print(f"{idle:.2f} ms, {loaded.median_ms:.2f} ms beside {mbit:.0f} Mbit/s")
    assert loaded.received == loaded.sent
    assert loaded.median_ms < idle + ADDED
    assert drops == [0, 0]


@contextlib.contextmanager
def second_client(net: Net, site: Site) -> Iterator[Site]:
    """Another machine with one uplink of its own to the same server."""
    other = net.namespace("other")
    net.veth(other, "up9", site.server, "dn9")
    site.server.ip("addr", "add", "10.1.9.1/24", "dev", "dn9")
    site.server.ip("link", "set", "dn9", "up")
    other.ip("link", "set", "up9", "up")
    other.ip("addr", "add", "10.1.9.2/24", "dev", "up9")
    other.ip("route", "add", "default", "via", "10.1.9.1", "dev", "up9")
    yield Site(net, site.server, other, ("up9",), None)


def test_a_client_that_stands_still_slows_no_other_one(net: Net) -> None:
    site = build_site(net, (None,))
    with second_client(net, site) as beside, server_daemon(site), client_daemon(site) as frozen:
        changes = {"Server": {"Address": f"{SERVER_ADDRESSES[0]}:4433", "Insecure": "true"}}
        with client_daemon(beside, changes, name="beside"):
            addresses = [inner_addresses(one.client, "mqc0") for one in (site, beside)]
            assert all(addresses)
            first, second = (pair[0] for pair in addresses if pair)
            before = Transfer(site.server, beside.client, second, seconds=3).start().result().mbit
            stuck = Transfer(site.server, site.client, first, seconds=8).start()
            time.sleep(1)
            frozen.process.send_signal(signal.SIGSTOP)
            try:
                beside_it = Transfer(site.server, beside.client, second, seconds=3).start().result().mbit
                rtts = ping(beside.client, INNER, count=20)
            finally:
                frozen.process.send_signal(signal.SIGCONT)
            stuck.result()
            dropped = dropped_before(site.server, "mqs0")
    print(f"{before:.0f} Mbit/s alone, {beside_it:.0f} beside a client that stands still; ping {rtts.median_ms:.2f} ms")
    assert beside_it > 0.6 * before
    assert rtts.received == rtts.sent
    assert rtts.median_ms < 5
    assert dropped == 0
