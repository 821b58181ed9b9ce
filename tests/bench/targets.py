"""What the figures have to reach. Each target names where its value is found in the results; see Results.median."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORDER = ("single", "small", "latency", "cpu", "fallbacks", "dual", "failure", "environments", "clients")


class Results:
    """The results of several scenarios, as Record wrote them, in ORDER."""

    def __init__(self, scenarios: dict[str, dict[str, Any]]) -> None:
        self.scenarios = scenarios

    @classmethod
    def read(cls, directory: Path) -> Results:
        found = [directory / f"{name}.json" for name in ORDER]
        return cls({path.stem: json.loads(path.read_text()) for path in found if path.exists()})

    def figures(self, scenario: str) -> list[dict[str, Any]]:
        figures: list[dict[str, Any]] = self.scenarios.get(scenario, {}).get("figures", [])
        return figures

    def median(self, scenario: str, case: str, way: str, quantity: str) -> float | None:
        """None if it was not measured."""
        wanted = (case, way, quantity)
        for figure in self.figures(scenario):
            if (figure["case"], figure["way"], figure["quantity"]) == wanted:
                return float(figure["median"])
        return None


@dataclass(frozen=True)
class Target:
    """One line of the table: what was promised, and what was measured."""

    text: str
    wanted: float
    value: Callable[[Results], float | None]
    at_most: bool = False

    def verdict(self, results: Results) -> str:
        value = self.value(results)
        if value is None:
            return "not measured"
        return "reached" if (value <= self.wanted if self.at_most else value >= self.wanted) else "MISSED"


def _plain(*where: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(*where)


def _share(scenario: str, case: str, quantity: str, way: str, of: str) -> Callable[[Results], float | None]:
    """One way's median divided by another's in the same run."""

    def value(results: Results) -> float | None:
        own, other = (results.median(scenario, case, one, quantity) for one in (way, of))
        return own / other if own is not None and other else None

    return value


def _largest(*values: Callable[[Results], float | None]) -> Callable[[Results], float | None]:
    """The worst of several; None as long as one is missing."""

    def value(results: Results) -> float | None:
        found = [one(results) for one in values]
        return None if None in found else max(one for one in found if one is not None)

    return value


def _added_latency(results: Results) -> float | None:
    idle, loaded = (results.median("latency", f"300M {case}", "tunnel", "ms mean") for case in ("idle", "loaded"))
    return loaded - idle if idle is not None and loaded is not None else None


def _quic_gain(results: Results) -> float | None:
    names = ("wlb", "A alone", "B alone")
    both, *alone = (results.median("environments", "baseline", way, "Mbit/s") for way in names)
    known = [one for one in alone if one]
    return both / max(known) if both is not None and known else None


def _targets() -> Iterator[Target]:
    for case in ("TCP 1 up", "TCP 4 up", "TCP 1 down", "TCP 4 down"):
        yield Target(f"{case}, share of the ceiling", 0.8, _share("single", case, "Mbit/s", "tunnel", "ceiling"))
    for case in ("UDP 160 up", "UDP 160 down"):
        yield Target(f"{case}, share of the raw link", 0.5, _share("small", case, "kpackets/s", "tunnel", "raw"))
    yield Target("idle ping, ms", 0.25, _plain("latency", "unshaped idle", "tunnel", "ms mean"), at_most=True)
    yield Target("delay added by load at 300 Mbit/s, ms", 20, _added_latency, at_most=True)
    for streams, wanted in ((1, 320), (4, 335), (16, 335)):
        where = ("dual", f"TCP {streams} up", "wlb", "Mbit/s")
        yield Target(f"300 + 80 Mbit/s, wlb, {streams} flows, Mbit/s", wanted, _plain(*where))
    where = ("dual", "TCP 16 up", "minrtt", "Mbit/s")
    yield Target("300 + 80 Mbit/s, minrtt, 16 flows, Mbit/s", 320, _plain(*where))
    yield Target("one QUIC flow over 2 x 50 Mbit/s, times the better link", 1.6, _quic_gain)
    for kind, gap in (("link down", 100), ("blackhole", 200)):
        for load in ("UDP only", "TCP beside"):
            case = f"{kind}, {load}"
            yield Target(f"{case}: longest gap, ms", gap, _plain("failure", case, "tunnel", "longest gap ms"), True)
            yield Target(f"{case}: packets lost, %", 0.2, _plain("failure", case, "tunnel", "lost %"), True)
        where = ("failure", f"{kind}, TCP beside", "tunnel", "s until 90 %")
        yield Target(f"{kind}: seconds from the repair to 90 % of the old rate", 2, _plain(*where), True)
    for case in ("300 Mbit/s up", "300 Mbit/s down"):
        worst = _largest(*(_plain("cpu", case, "tunnel", f"{end} CPU %") for end in ("client", "server")))
        yield Target(f"{case}, processor of the busier daemon, %", 8, worst, at_most=True)
    yield Target("1000 idle clients: kB each", 150, _plain("clients", "1000 clients", "tunnel", "kB per client"), True)
    yield Target(
        "1000 idle clients: processor, %", 5, _plain("clients", "1000 clients", "tunnel", "server CPU %"), True
    )


TARGETS = tuple(_targets())
