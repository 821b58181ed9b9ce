"""The measurements that scenarios are made of, and the loop that repeats them over all ways in turn.

Alternating matters: what else the machine does changes by the minute, so figures are only compared with figures
of the same round. What a hypervisor takes away meanwhile is seen: such a measurement is made again, whatever it said.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.bench import adapters
from tests.bench.record import Record
from tests.bench.ways import Plan, Way, open_way
from tests.lab.links import Shape
from tests.lab.net import LabError
from tests.lab.stolen import Stolen
from tests.lab.traffic import Result, Transfer

START = 1.0  # seconds at the beginning of a transfer that do not count
WARM_UP = 3.0  # the same where links have delay
LOSS_ALLOWED = 1.0  # percent
UNLIMITED = 20_000  # Mbit/s: more than any generator makes
STOLEN = 0.03  # share of the processors that the hypervisor may keep during a measurement
TRIES = 4  # to measure without that; the last one counts
CALM, PATIENCE = 1.0, 30.0  # seconds without it before a measurement, and how long such a second is waited for
LESS, LOWEST = 0.8, 0.05  # the rate offered falls by this factor, to that share, until no more is lost than allowed

Figures = dict[str, float]  # quantity -> value
Measure = Callable[[Way], Figures]


class Load(Transfer):
    """A Transfer with more of iperf3's options."""

    def __init__(self, *ends: Any, more: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*ends, **options)
        self._argv += more


@contextlib.contextmanager
def open_ways(record: Record, plans: Sequence[Plan], shapes: Sequence[Shape | None]) -> Iterator[list[Way]]:
    """Those of the plans that this machine can carry out; why the others are missing goes into the notes."""
    with contextlib.ExitStack() as stack:
        ways = []
        for plan in plans:
            try:
                ways.append(stack.enter_context(open_way(plan, shapes)))
                if plan.kind in adapters.names():
                    record.note(plan.name, adapters.version(plan.kind, len(shapes)))
            except LabError as error:
                record.note(plan.name, f"not measured: {_reason(error)}")
        yield ways


def _reason(error: Exception) -> str:
    """The first line of the error and the last: often a log's, which tells why."""
    lines = str(error).strip().splitlines() or [repr(error)]
    return "; ".join(dict.fromkeys((lines[0], lines[-1])))


def alternate(record: Record, ways: Sequence[Way], cases: Mapping[str, Measure]) -> None:
    """Measure every case over every way, round after round; a failure is noted and the rest goes on."""
    total, done = record.rounds * len(cases) * len(ways), 0
    stolen = Stolen()
    for turn in range(record.rounds):
        for case, measure in cases.items():
            first = turn % max(len(ways), 1)
            for way in [*ways[first:], *ways[:first]]:
                done += 1
                try:
                    figures = undisturbed(record, measure, way, stolen)
                except (LabError, OSError, subprocess.SubprocessError) as error:
                    record.note(way.name, f"{case}, round {turn + 1} failed: {_reason(error)}")
                    continue
                for quantity, value in figures.items():
                    record.add(case, way.name, quantity, value)
                said = ", ".join(f"{value:.4g} {quantity}" for quantity, value in figures.items())
                record.say(f"{done}/{total}  {case}, {way.name}: {said}")


def undisturbed(record: Record, measure: Measure, way: Way, stolen: Stolen) -> Figures:
    """The measurement, and what was stolen during it; made again if that was too much."""
    for left in reversed(range(TRIES)):
        wait_for_calm(stolen)
        before = record.curves
        stolen.restart()
        figures = measure(way)
        share = stolen.share
        if share <= STOLEN or not left:
            break
        record.curves = before
        record.say(f"{way.name}: {stolen.share:.0%} of the processors were stolen; again")
    return figures | {"stolen %": share * 100}


def wait_for_calm(stolen: Stolen) -> None:
    """Wait for a second of which the hypervisor took little, but not for ever."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        stolen.restart()
        time.sleep(CALM)
        if stolen.share <= STOLEN:
            return


def tcp(seconds: float, streams: int, *, up: bool, start: float = START) -> Measure:
    """Throughput of TCP flows without the first `start` seconds, and what it costs each daemon."""

    def measure(way: Way) -> Figures:
        before = way.cpu_seconds()
        result = Load(*way.ends(up=up), seconds=seconds + start, streams=streams).start().result()
        return {"Mbit/s": result.between(start, seconds + start)} | _cost(way, before, result)

    return measure


def tcp_both(seconds: float, streams: int) -> Measure:
    """The sum of as many flows in each direction at the same time."""

    def measure(way: Way) -> Figures:
        before = way.cpu_seconds()
        loads = [Load(*way.ends(up=up), seconds=seconds + START, streams=streams).start() for up in (True, False)]
        results = [load.result() for load in loads]
        mbit = sum(result.between(START, seconds + START) for result in results)
        return {"Mbit/s": mbit} | _cost(way, before, *results)

    return measure


def _cost(way: Way, before: tuple[float, float], *results: Result) -> Figures:
    """Processor seconds of each daemon per Gbit carried; nothing for ways without daemons."""
    if not way.client_pids:
        return {}
    gbit = sum(i.bytes for result in results for i in result.intervals) * 8e-9
    client, server = (now - was for now, was in zip(way.cpu_seconds(), before, strict=True))
    return {"client CPU s/Gbit": client / max(gbit, 1e-9), "server CPU s/Gbit": server / max(gbit, 1e-9)}


def cpu_at(seconds: float, mbit: float, *, up: bool) -> Measure:
    """Each daemon's share of a core, in percent, while one TCP flow sends at a fixed rate."""

    def measure(way: Way) -> Figures:
        before = way.cpu_seconds()
        load = Load(*way.ends(up=up), seconds=seconds, more=("-b", f"{mbit}M")).start()
        reached = load.result().mbit
        client, server = (now - was for now, was in zip(way.cpu_seconds(), before, strict=True))
        return {"Mbit/s": reached, "client CPU %": client / seconds * 100, "server CPU %": server / seconds * 100}

    return measure


def highest_packet_rate(seconds: float, size: int, *, up: bool) -> Measure:
    """Most packets per second of which less than one in a hundred is lost."""

    def measure(way: Way) -> Figures:
        def probe(mbit: float) -> float:
            """What arrives when so much is offered; 0 if too much of it is lost."""
            # The largest receive buffer to be had without touching the machine's limits.
            more = ("-w", "208K")
            load = Load(*way.ends(up=up), seconds=seconds, udp_mbit=round(mbit, 1), size=size, more=more)
            result = load.start().result()
            offered.append(result.mbit / max(1 - result.lost_percent / 100, 0.01))
            return result.mbit if result.lost_percent < LOSS_ALLOWED else 0.0

        offered: list[float] = []
        best = probe(UNLIMITED)
        rate = offered[0]
        while not best and rate > LOWEST * offered[0]:
            rate *= LESS
            best = probe(rate)
        if len(offered) > 1 and best:
            best = max(best, probe(rate * (1 + 1 / LESS) / 2))  # between what was lossless and what was not
        return {"kpackets/s": best * 1000 / 8 / size}

    return measure


def ping_times(way: Way, seconds: float, interval: float = 0.02) -> list[float]:
    """Round trips in ms, in order; raises LabError when nothing is answered."""
    count = str(int(seconds / interval))
    argv = ("ping", "-n", "-i", str(interval), "-W", "2", "-c", count, way.to_server)
    output = way.site.client.run(*argv, check=False, timeout=seconds * 3 + 10)
    times = [float(value) for value in re.findall(r"time=([\d.]+) ms", output)]
    if not times:
        raise LabError(f"no echo from {way.to_server}")
    return times


def round_trips(seconds: float, *, loaded: bool) -> Measure:
    """Mean and 99th percentile of ping, beside one TCP flow that takes all it can get if `loaded`."""

    def measure(way: Way) -> Figures:
        if not loaded:
            return _summary(ping_times(way, seconds))
        load = Load(*way.ends(up=True), seconds=seconds + 2 * WARM_UP).start()
        ping_times(way, WARM_UP)
        times = ping_times(way, seconds)
        return _summary(times) | {"Mbit/s beside": load.result().mbit}

    return measure


def _summary(times: list[float]) -> Figures:
    return {"ms mean": statistics.fmean(times), "ms p99": sorted(times)[int(len(times) * 0.99)]}
