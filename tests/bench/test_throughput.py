"""One TCP flow over one unshaped link: our tunnel against the ceiling, alternating in one run.

Only the ratio travels from machine to machine. The figures are printed, and kept in
build/bench/throughput.json. On a quiet machine: .venv/bin/python -m pytest -m bench -s tests/bench
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable

import pytest

from tests.bench.record import DIRECTORY, machine
from tests.bench.ways import ceiling
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import transfer
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.bench, pytest.mark.netns]

ROUNDS, SECONDS = 3, 5
WANTED = 0.5  # of the ceiling


def one_flow(site: Site, address: str) -> float:
    """Mbit/s from client to server, without the first second."""
    return transfer(site.client, site.server, address, seconds=SECONDS).between(1, SECONDS)


def through_the_ceiling() -> float:
    with Net() as net:
        site = build_site(net, [None])
        with ceiling(site):
            return one_flow(site, INNER)


def through_the_tunnel() -> float:
    with Net() as net:
        site = build_site(net, [None])
        with tunnel(site, statistics=False):
            return one_flow(site, INNER)


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
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "throughput.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nceiling {medians['ceiling']:.0f} Mbit/s, tunnel {medians['tunnel']:.0f} Mbit/s, ratio {ratio}")
    assert ratio >= WANTED
