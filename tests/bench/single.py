"""Scenarios over one link: throughput, small packets, latency, processor time."""

from __future__ import annotations

from mqvpn.system import offloads
from tests.bench.measure import (
    WARM_UP,
    Measure,
    alternate,
    cpu_at,
    highest_packet_rate,
    open_ways,
    round_trips,
    tcp,
    tcp_both,
)
from tests.bench.record import Record
from tests.bench.ways import CEILING, RAW, TUNNEL, UNSHAPED, Plan, rival_plans
from tests.lab.links import Shape

SMALL = 160  # bytes of UDP payload
LINK = Shape(rate=300, delay=10)


def single(record: Record) -> None:
    """TCP over one unshaped link: 1, 4 and 16 flows, the other direction, both directions"""
    cases: dict[str, Measure] = {}
    for streams in (1, 4, 16):
        cases[f"TCP {streams} up"] = tcp(record.seconds, streams, up=True)
    for streams in (1, 4):
        cases[f"TCP {streams} down"] = tcp(record.seconds, streams, up=False)
    cases["TCP 4 both"] = tcp_both(record.seconds, 4)
    with open_ways(record, [RAW, CEILING, TUNNEL, *rival_plans()], UNSHAPED) as ways:
        alternate(record, ways, cases)


def fallbacks(record: Record) -> None:
    """one TCP flow over one unshaped link, without one kernel offload after the other"""
    plans = [TUNNEL, *(Plan(f"without {name}", "tunnel", without=name) for name in offloads.NAMES)]
    cases = {f"TCP 1 {'up' if up else 'down'}": tcp(record.seconds, 1, up=up) for up in (True, False)}
    with open_ways(record, plans, UNSHAPED) as ways:
        alternate(record, ways, cases)


def small(record: Record) -> None:
    """the most UDP packets of 160 bytes per second, each direction"""
    seconds = max(record.seconds / 2, 1)
    cases = {
        f"UDP {SMALL} {'up' if up else 'down'}": highest_packet_rate(seconds, SMALL, up=up) for up in (True, False)
    }
    with open_ways(record, [RAW, CEILING, TUNNEL, *rival_plans()], UNSHAPED) as ways:
        alternate(record, ways, cases)


def latency(record: Record) -> None:
    """ping over the idle and the full link, unshaped and at 300 Mbit/s, 10 ms"""
    plans = [RAW, CEILING, TUNNEL, *rival_plans()]
    links = {"unshaped": UNSHAPED, "300M": (LINK,)}
    for name, shapes in links.items():
        cases = {
            f"{name} idle": round_trips(record.seconds, loaded=False),
            f"{name} loaded": round_trips(record.seconds, loaded=True),
        }
        with open_ways(record, plans, shapes) as ways:
            alternate(record, ways, cases)


def cpu(record: Record) -> None:
    """each daemon's processor time while one TCP flow runs at 300 Mbit/s"""
    seconds = record.seconds + WARM_UP
    cases = {f"300 Mbit/s {'up' if up else 'down'}": cpu_at(seconds, 300, up=up) for up in (True, False)}
    with open_ways(record, [CEILING, TUNNEL, *rival_plans()], UNSHAPED) as ways:
        alternate(record, ways, cases)
