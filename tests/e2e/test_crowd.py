"""Two hundred clients that connect at the same moment: all are served soon, and who was there before hardly notices."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest

from tests.bench.clients import SERVER, swarm
from tests.e2e.test_queues import second_client
from tests.lab.net import Namespace, Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, client_daemon, server_daemon

pytestmark = [pytest.mark.netns, pytest.mark.pace]

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
        # One that goes on: the last echo of each is only waited for as long as those before it took.
        watching = beside.client.popen("ping", "-n", "-i", "0.1", INNER, stdout=subprocess.PIPE, text=True)
        started = time.monotonic()
        try:
            grow(1 + CROWD)
            seconds = time.monotonic() - started
            time.sleep(1)  # what is late arrives
        finally:
            watching.send_signal(signal.SIGINT)
            said = watching.communicate(timeout=10)[0]
    echoes = [(int(number), float(rtt)) for number, rtt in re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", said)]
    rtts = sorted(rtt for _, rtt in echoes)
    print(f"{CROWD} clients in {seconds:.1f} s; {idle.median_ms:.2f} ms before, then {rtts}")
    assert seconds < SOON
    assert [number for number, _ in echoes] == list(range(1, len(echoes) + 1))
    assert rtts[len(rtts) * 8 // 10] < idle.median_ms + ADDED  # the rest is what else this machine did
