"""One TCP flow over one unshaped link: our tunnel against the ceiling, alternating in one run.

Only the ratio travels from machine to machine. The figures are printed, and kept in
build/bench/throughput.json. On a quiet machine: .venv/bin/python -m pytest -m bench -s tests/bench
"""

from __future__ import annotations

import json
import os
import platform
import ssl
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.links import compiled
from tests.lab.net import ROOT, Net, program, wait_for
from tests.lab.site import Site, build_site
from tests.lab.traffic import transfer
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.bench, pytest.mark.netns]

ROUNDS, SECONDS = 3, 5
WANTED = 0.5  # of the ceiling
CEILING_MTU = 1368  # 1400 bytes of UDP payload less 32 of header, frame and tag, as in the tunnel


def one_flow(site: Site, address: str) -> float:
    """Mbit/s from client to server, without the first second."""
    return transfer(site.client, site.server, address, seconds=SECONDS).between(1, SECONDS)


def through_the_ceiling() -> float:
    executable = str(compiled("bench/ceiling", "-O3", "-march=native", "-lcrypto"))
    with Net() as net:
        site = build_site(net, [None])
        ends = ((site.client, "10.1.0.2", "10.1.0.1", 2), (site.server, "10.1.0.1", "10.1.0.2", 1))
        for namespace, local, remote, host in ends:
            argv = (executable, "tun0", local, remote, "5000")
            net.enter(program(namespace, *argv, log=net.log(f"ceiling{host}.log")))
            wait_for("tun0", lambda: "tun0" in namespace.ip("link"))  # noqa: B023
            namespace.ip("link", "set", "tun0", "mtu", str(CEILING_MTU), "up")
            namespace.ip("addr", "add", f"10.77.0.{host}/24", "dev", "tun0")
        return one_flow(site, INNER)


def through_the_tunnel() -> float:
    with Net() as net:
        site = build_site(net, [None])
        with tunnel(site):
            return one_flow(site, INNER)


def machine() -> dict[str, Any]:
    """What a reader needs to know to compare the figures."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "load": os.getloadavg()[0],
    }


def test_one_flow_against_the_ceiling() -> None:
    ways: dict[str, Callable[[], float]] = {"ceiling": through_the_ceiling, "tunnel": through_the_tunnel}
    runs: dict[str, list[float]] = {name: [] for name in ways}
    facts = machine()
    for _ in range(ROUNDS):
        for name, measure in ways.items():
            runs[name].append(round(measure(), 1))
    medians = {name: statistics.median(figures) for name, figures in runs.items()}
    ratio = round(medians["tunnel"] / medians["ceiling"], 3)
    report = {"machine": facts, "mbit": runs, "median": medians, "ratio": ratio}
    directory = ROOT / "build" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "throughput.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nceiling {medians['ceiling']:.0f} Mbit/s, tunnel {medians['tunnel']:.0f} Mbit/s, ratio {ratio}")
    assert ratio >= WANTED
