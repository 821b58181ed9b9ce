"""What five hundred idle clients cost their server: memory for each of them, and processor time for keep-alives."""

from __future__ import annotations

import time

import pytest

from tests.bench.clients import KEEP_ALIVE, SERVER, swarm
from tests.bench.ways import cpu_seconds
from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.tunnel import server_daemon

pytestmark = [pytest.mark.netns, pytest.mark.long, pytest.mark.pace]

CLIENTS = 500


def test_idle_clients_are_cheap(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site, SERVER, statistics=False) as server, swarm(site, net.log("swarm.log")) as grow:
        grow(1)
        alone = server.memory()
        grow(CLIENTS)
        time.sleep(1)
        before = cpu_seconds(server.process.pid)
        time.sleep(KEEP_ALIVE)  # in which each of them speaks once
        share = (cpu_seconds(server.process.pid) - before) / KEEP_ALIVE
        growth = (server.memory() - alone) / (CLIENTS - 1)
    print(f"{growth / 1000:.0f} kB and {share:.2%} of a core for {CLIENTS} clients")
    assert growth <= 150_000
    assert share < 0.05
