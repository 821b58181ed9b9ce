"""Two hundred clients that connect at the same moment: all are served soon, and who was there before hardly notices."""

from __future__ import annotations

import threading
import time

import pytest

from tests.bench.clients import SERVER, swarm
from tests.e2e.test_queues import second_client
from tests.lab.net import Namespace, Net
from tests.lab.site import build_site
from tests.lab.traffic import Ping, ping
from tests.lab.tunnel import INNER, client_daemon, server_daemon

pytestmark = pytest.mark.netns

CROWD = 200
SOON = 10  # seconds
ADDED = 50  # ms
SOURCES = range(128, 228)  # of 10.1.0.0/24: a server takes few half-open connections from one address
SPREAD_OUT = """
table inet crowd {
    chain out {
        type nat hook postrouting priority srcnat
        oifname up0 snat ip to numgen inc mod %d map { %s }
    }
}
"""


def spread_out(client: Namespace) -> None:
    """Its connections leave with one source address after the other."""
    client.ip("route", "add", "local", "10.1.0.128/25", "dev", "lo")
    addresses = ", ".join(f"{turn} : 10.1.0.{number}" for turn, number in enumerate(SOURCES))
    client.run("nft", SPREAD_OUT % (len(SOURCES), addresses))


def test_a_crowd_is_served_and_those_before_it_too(net: Net) -> None:
    site = build_site(net, [None])
    spread_out(site.client)
    with (
        second_client(net, site) as beside,
        server_daemon(site, SERVER, statistics=False),
        client_daemon(beside),
        swarm(site, net.log("swarm.log"), CROWD) as grow,
    ):
        grow(1)  # the program has started
        idle = ping(beside.client, INNER, count=10)
        meanwhile: list[Ping] = []
        watching = threading.Event()

        def watch() -> None:
            while not watching.is_set():
                meanwhile.append(ping(beside.client, INNER, count=5))

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.monotonic()
        try:
            grow(1 + CROWD)
            seconds = time.monotonic() - started
        finally:
            watching.set()
            watcher.join()
    rtts = sorted(rtt for one in meanwhile for rtt in one.rtts_ms)
    print(f"{CROWD} clients in {seconds:.1f} s; {idle.median_ms:.2f} ms before, then {rtts}")
    assert seconds < SOON
    assert sum(one.received for one in meanwhile) == sum(one.sent for one in meanwhile)
    assert rtts[len(rtts) * 8 // 10] < idle.median_ms + ADDED  # the rest is what else this machine did
