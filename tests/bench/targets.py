"""What the figures have to reach. Each target names where its value is found in the results; see Results.found."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.scenarios import SCENARIOS

ENOUGH = 5  # rounds without which nothing is called reached
DAEMONS = ("client", "server")


@dataclass(frozen=True)
class Found:
    """A value, and in how many of the rounds it was measured: that of its parts which was measured in the fewest."""

    value: float
    repetitions: int
    rounds: int

    def as_value(self, value: float, *others: Found) -> Found:
        """A value that is made of this one and the others."""
        fewest = min((self, *others), key=lambda one: one.repetitions)
        return Found(value, fewest.repetitions, fewest.rounds)


Value = Callable[["Results"], Found | None]


class Results:
    """The results of several scenarios, as Record wrote them, in the order of SCENARIOS."""

    def __init__(self, scenarios: dict[str, dict[str, Any]]) -> None:
        self.scenarios = scenarios

    @classmethod
    def read(cls, directory: Path) -> Results:
        found = [directory / f"{name}.json" for name in SCENARIOS]
        return cls({path.stem: json.loads(path.read_text()) for path in found if path.exists()})

    def figures(self, scenario: str) -> list[dict[str, Any]]:
        figures: list[dict[str, Any]] = self.scenarios.get(scenario, {}).get("figures", [])
        return figures

    def found(self, scenario: str, case: str, way: str, quantity: str) -> Found | None:
        """The median; None if it was not measured."""
        wanted = (case, way, quantity)
        for figure in self.figures(scenario):
            if (figure["case"], figure["way"], figure["quantity"]) == wanted:
                return Found(figure["median"], len(figure["values"]), self.scenarios[scenario]["rounds"])
        return None

    def busier(self, scenario: str, unit: str) -> list[dict[str, Any]]:
        """Of the figures "client UNIT" and "server UNIT" the larger one, for each case and way."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for figure in self.figures(scenario):
            key = figure["case"], figure["way"]
            if figure["quantity"] in [f"{daemon} {unit}" for daemon in DAEMONS]:
                found[key] = max(figure, found.get(key, figure), key=lambda one: float(one["median"]))
        return [figure | {"quantity": f"{unit}, busier daemon"} for figure in found.values()]


@dataclass(frozen=True)
class Target:
    """One line of the table: what was promised, and what was measured."""

    text: str
    wanted: float
    value: Value
    at_most: bool = False

    def verdict(self, results: Results) -> str:
        """Reached is what was reached in enough rounds; otherwise in how many is said with it."""
        found = self.value(results)
        if found is None:
            return "not measured"
        if found.value > self.wanted if self.at_most else found.value < self.wanted:
            return "MISSED"
        return "reached" if found.repetitions >= ENOUGH else f"reached in {plural(found.repetitions, 'round')}"


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(*where: str) -> Value:
    return lambda results: results.found(*where)


def _of(combine: Callable[..., float], *values: Value) -> Value:
    """What `combine` makes of several; None as long as one is missing, or for a share of nothing."""

    def value(results: Results) -> Found | None:
        found = [one for one in (value(results) for value in values) if one is not None]
        if len(found) < len(values):
            return None
        with contextlib.suppress(ZeroDivisionError):
            return found[0].as_value(combine(*(one.value for one in found)), *found[1:])
        return None

    return value


def _share(scenario: str, case: str, quantity: str, way: str, of: str) -> Value:
    """One way's median divided by another's in the same run."""
    return _of(lambda own, other: own / other, *(_plain(scenario, case, one, quantity) for one in (way, of)))


def _slower_direction(streams: int, way: str) -> Value:
    return _of(min, *(_plain("dual", f"TCP {streams} {direction}", way, "Mbit/s") for direction in ("up", "down")))


def _added_latency() -> Value:
    cases = ("300M loaded", "300M idle")
    return _of(lambda loaded, idle: loaded - idle, *(_plain("latency", one, "tunnel", "ms mean") for one in cases))


def _quic_gain() -> Value:
    ways = ("wlb", "A alone", "B alone")
    found = (_plain("quic", "baseline", way, "Mbit/s") for way in ways)
    return _of(lambda both, *alone: both / max(alone), *found)


def _targets() -> Iterator[Target]:
    for case in ("TCP 1 up", "TCP 4 up", "TCP 1 down", "TCP 4 down"):
        yield Target(f"{case}, share of the ceiling", 0.8, _share("single", case, "Mbit/s", "tunnel", "ceiling"))
    for case in ("UDP 160 up", "UDP 160 down"):
        yield Target(f"{case}, share of the raw link", 0.5, _share("small", case, "kpackets/s", "tunnel", "raw"))
    yield Target("idle ping, ms", 0.25, _plain("latency", "unshaped idle", "tunnel", "ms mean"), at_most=True)
    yield Target("delay added by load at 300 Mbit/s, ms", 20, _added_latency(), at_most=True)
    for streams, way, wanted in ((1, "wlb", 320), (4, "wlb", 335), (16, "wlb", 335), (16, "minrtt", 320)):
        text = f"300 + 80 Mbit/s, {way}, {plural(streams, 'flow')}, the slower direction, Mbit/s"
        yield Target(text, wanted, _slower_direction(streams, way))
    yield Target("one QUIC flow over 2 x 50 Mbit/s, times the better link", 1.6, _quic_gain())
    for kind, gap in (("link down", 100), ("blackhole", 200)):
        for load in ("UDP only", "TCP beside"):
            case = f"{kind}, {load}"
            yield Target(f"{case}: longest gap, ms", gap, _plain("failure", case, "tunnel", "longest gap ms"), True)
            yield Target(f"{case}: packets lost, %", 0.2, _plain("failure", case, "tunnel", "lost %"), True)
        where = ("failure", f"{kind}, TCP beside", "tunnel", "s until 90 %")
        yield Target(f"{kind}: seconds from the repair to 90 % of the old rate", 2, _plain(*where), True)
    for case in ("300 Mbit/s up", "300 Mbit/s down"):
        worst = _of(max, *(_plain("cpu", case, "tunnel", f"{daemon} CPU %") for daemon in DAEMONS))
        yield Target(f"{case}, processor of the busier daemon, %", 8, worst, at_most=True)
    yield Target("1000 idle clients: kB each", 150, _plain("clients", "1000 clients", "tunnel", "kB per client"), True)
    yield Target(
        "1000 idle clients: processor, %", 5, _plain("clients", "1000 clients", "tunnel", "server CPU %"), True
    )


TARGETS = tuple(_targets())
