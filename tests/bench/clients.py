"""Scenario: what idle clients cost a server, in memory and in keep-alives."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.record import Record
from tests.bench.ways import cpu_seconds
from tests.lab.net import LabError, Net, stop
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.tunnel import KEY, PORT, Daemon, Sections, server_daemon

COUNTS = (1, 100, 1000)
QUICK_COUNTS = (1, 100)
QUICK_BELOW = 4  # seconds of a measurement
CONNECT_TIMEOUT = 120.0  # seconds for all of them
KEEP_ALIVE = 15.0  # seconds in which every client speaks once
SERVER: Sections = {"Interface": {"Subnet": "10.77.0.0/20"}, "Auth": {"MaxClients": 65536}}


def clients(record: Record) -> None:
    """a server's memory for each idle client, and its processor time for keep-alives"""
    quick = record.seconds < QUICK_BELOW
    for turn in range(record.rounds):
        with Net() as net:
            site = build_site(net, [None])
            with server_daemon(site, SERVER, statistics=False) as server, swarm(site, net.log("swarm.log")) as grow:
                record.add("0 clients", "tunnel", "server MB", server.memory() / 1e6)
                alone = 0
                for count in QUICK_COUNTS if quick else COUNTS:
                    grow(count)
                    alone = measure(record, server, count, alone, record.seconds if quick else KEEP_ALIVE)
                    record.say(f"round {turn + 1}/{record.rounds}: {count} clients")


def measure(record: Record, server: Daemon, count: int, alone: int, seconds: float) -> int:
    """Memory now and processor time in the next seconds. Returns the memory with one client: `alone`, once known."""
    case = "1 client" if count == 1 else f"{count} clients"
    time.sleep(1)
    before = cpu_seconds(server.process.pid)
    time.sleep(seconds)
    share = (cpu_seconds(server.process.pid) - before) / seconds * 100
    record.add(case, "tunnel", "server CPU %", share)
    record.add(case, "tunnel", "server MB", server.memory() / 1e6)
    if count > 1:
        record.add(case, "tunnel", "kB per client", (server.memory() - alone) / (count - 1) / 1000)
    return alone or server.memory()


@contextlib.contextmanager
def swarm(site: Site, log: Path, *at_once: int) -> Iterator[Callable[[int], None]]:
    """A function that brings the number of connected clients up to its argument; at_once: how many
    connect at a time."""
    argv = (sys.executable, "-m", "tests.bench.swarm", SERVER_ADDRESSES[0], str(PORT), *map(str, at_once))
    pipe = subprocess.PIPE
    with log.open("ab") as errors:
        options: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": errors, "text": True}
        process = site.client.popen(*argv, env=os.environ | {"KEY": KEY}, **options)
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def grow(count: int) -> None:
        requests.write(f"{count}\n")
        requests.flush()
        ready, _, _ = select.select([answers], [], [], CONNECT_TIMEOUT)
        if not ready or answers.readline() != f"{count}\n":
            raise LabError(f"{count} clients did not connect: {log.read_text()[-500:]}")

    try:
        yield grow
    finally:
        stop(process)
