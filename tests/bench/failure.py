"""The larger of two links fails, with notice or in silence, and comes back: 500 small packets per second and TCP."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.dual import LINKS
from tests.bench.measure import Figures, Load, Measure, alternate, open_ways
from tests.bench.record import Curve, Record
from tests.bench.ways import TUNNEL, Way, rival_plans
from tests.lab.site import Site
from tests.lab.traffic import Result, Stream, stream_result

INTERVAL = 0.002  # seconds between two packets
STEP = 0.25  # seconds, of the curves
LATE = 0.3  # seconds, at most, until iperf3 has connected four flows through the tunnel and its receiver's clock starts
RECOVERED = 0.9  # of the rate before the fault
KINDS = ("link down", "blackhole")


@dataclass(frozen=True)
class Times:
    """Seconds from the beginning: of the fault, of the repair, of the end."""

    fault: float
    repair: float
    end: float


FULL, BRIEF = Times(8, 16, 28), Times(4, 8, 14)
BRIEF_BELOW = 4  # seconds of a measurement: then the scenario is shortened too


class Arrivals(Stream):
    """A Stream that keeps when each packet arrived, by the clock of time.monotonic()."""

    times: list[float]

    def __enter__(self) -> Arrivals:
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._out.terminate()
        sent = int(self._out.communicate()[0])
        time.sleep(1)  # what is still under way may arrive
        self._in.terminate()
        arrivals: list[tuple[int, float]] = json.loads(self._in.communicate()[0])
        self.result = stream_result(sent, arrivals)
        self.times = [at for _, at in arrivals]


def failure(record: Record) -> None:
    """the 300 Mbit/s link goes down or swallows everything for 8 s: packets lost, gaps, recovery"""
    times = FULL if record.seconds >= BRIEF_BELOW else BRIEF
    cases = {
        f"{kind}, {'TCP beside' if load else 'UDP only'}": through_a_fault(record, kind, times, load=load)
        for kind in KINDS
        for load in (False, True)
    }
    with open_ways(record, [TUNNEL, *rival_plans()], LINKS) as ways:
        alternate(record, ways, cases)


def through_a_fault(record: Record, kind: str, times: Times, *, load: bool) -> Measure:
    """What a fault of the first link costs; the curves go straight into the record."""
    case = f"{kind}, {'TCP beside' if load else 'UDP only'}"

    def measure(way: Way) -> Figures:
        ends = way.ends(up=True)
        with contextlib.ExitStack() as stack:
            started = time.monotonic()
            flows = Load(*ends, seconds=times.end, streams=4, interval=STEP).start() if load else None
            stream = stack.enter_context(Arrivals(*ends, interval=INTERVAL, size=160))
            breaks = started + times.fault, started + times.repair
            _fail(way.site, kind, *breaks)
            time.sleep(max(0.0, started + times.end - time.monotonic()))
        record.add_curve(case, way.name, "packets/s", _packet_curve(stream.times, started, times.end))
        lost = stream.result.lost / max(stream.result.sent, 1) * 100
        figures = {
            "longest gap ms": stream.result.longest_gap * 1000,
            "lost %": lost,
            "reordered %": stream.result.reordered / max(stream.result.received, 1) * 100,
        }
        if flows is None:
            return figures
        curve = _rate_curve(flows.result(), flows.started - started)
        record.add_curve(case, way.name, "Mbit/s", curve)
        return figures | _recovery(curve, times)

    return measure


def _fail(site: Site, kind: str, fault: float, repair: float) -> None:
    """Break the first link at one time of the monotonic clock, and repair it at another."""
    for at, broken in ((fault, True), (repair, False)):
        time.sleep(max(0.0, at - time.monotonic()))
        if kind == "blackhole":
            site.set_link(0, blackhole=broken)
        else:
            site.set_uplink(0, up=not broken)


def _packet_curve(arrivals: Sequence[float], started: float, end: float) -> Curve:
    """Packets per second, by steps."""
    counts = [0] * int(end / STEP)
    for at in arrivals:
        step = int((at - started) / STEP)
        if 0 <= step < len(counts):
            counts[step] += 1
    return [(n * STEP, count / STEP) for n, count in enumerate(counts)]


def _rate_curve(result: Result, offset: float) -> Curve:
    """Mbit/s by the receiver's clock, which starts when it has been connected to, up to LATE after `offset`: the curve
    is early by as much."""
    return [(offset + i.start, i.bytes * 8e-6 / i.seconds) for i in result.intervals if i.seconds > STEP / 2]


def _recovery(curve: Curve, times: Times) -> Figures:
    """Rates before, during (from a second after the fault on) and after it, and when the old rate was back.

    Back it is with the first step that has nine tenths of it, if the second which this step begins has as much. As the
    curve may be early, LATE is added: the time is too long by up to as much, never too short.
    """

    def mean(start: float, end: float) -> float:
        inside = [rate for at, rate in curve if start <= at < end]
        return sum(inside) / max(len(inside), 1)

    early = STEP + LATE  # a step that begins this long before a change has ended before it, by any clock
    before = mean(times.fault / 2, times.fault - early)
    enough = RECOVERED * before
    good = [at for at, rate in curve if times.repair <= at <= times.end - 1 and rate >= enough]
    back = next((at + LATE for at in good if mean(at, at + 1) >= enough), times.end)
    return {
        "Mbit/s before": before,
        "Mbit/s during": mean(times.fault + 1, times.repair - early),
        "Mbit/s after": mean(times.end - 4, times.end - 1),
        "s until 90 %": back - times.repair,
    }
