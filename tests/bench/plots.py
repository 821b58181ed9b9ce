"""The report's plots: bars of medians with the extremes of the repetitions, and curves through a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from tests.bench.failure import BRIEF, FULL
from tests.bench.targets import Results

mpl.use("Agg")
Figures = list[dict[str, Any]]
COLOURS = {
    "raw": "#b0b0b0",
    "ceiling": "#7f7f7f",
    "tunnel": "#1f77b4",
    "wlb": "#1f77b4",
    "minrtt": "#17becf",
    "redundant": "#9467bd",
    "A alone": "#c7c7c7",
    "B alone": "#dfdfdf",
    "wireguard-go": "#d62728",
    "openvpn": "#ff7f0e",
}
OTHER = "#2ca02c"  # a way that is not in the list
WIDTH, HEIGHT, DPI = 9.0, 3.6, 120


def draw(results: Results, directory: Path) -> dict[str, dict[str, str]]:
    """Draw all plots for which there are results: for each scenario what its files show, by their names."""

    def some(scenario: str, quantity: str, *, without: Sequence[str] = ()) -> Figures:
        return [f for f in results.figures(scenario) if f["quantity"] == quantity and f["way"] not in without]

    plots: dict[str, Sequence[tuple[str, str, Callable[[Path], bool]]]] = {
        "single": [
            ("throughput.png", "TCP throughput, Mbit/s", bars(some("single", "Mbit/s", without=("raw",)))),
            ("cpu-per-gbit.png", "seconds of the busier daemon per Gbit", bars(results.busier("single", "CPU s/Gbit"))),
        ],
        "small": [("small-packets.png", "thousands of small packets per second", bars(some("small", "kpackets/s")))],
        "latency": [("latency.png", "mean round trip, ms", bars(some("latency", "ms mean"), logarithmic=True))],
        "cpu": [("cpu.png", "percent of a core that the busier daemon takes", bars(results.busier("cpu", "CPU %")))],
        "dual": [("aggregation.png", "TCP throughput over two links, Mbit/s", bars(some("dual", "Mbit/s")))],
        "quic": [("quic.png", "throughput of one QUIC flow, Mbit/s", bars(some("quic", "Mbit/s")))],
        "environments": [
            ("environments.png", "throughput of one QUIC flow, Mbit/s", bars(some("environments", "Mbit/s")))
        ],
        "failure": [
            ("recovery-tcp.png", "TCP throughput through the fault, Mbit/s", curves(results, "Mbit/s")),
            ("recovery-udp.png", "packets arriving per second through the fault", curves(results, "packets/s")),
        ],
    }
    return {
        scenario: {name: caption for name, caption, plot in files if plot(directory / name)}
        for scenario, files in plots.items()
    }


def bars(figures: Figures, *, logarithmic: bool = False) -> Callable[[Path], bool]:
    """Draws a group of bars for each case, a bar for each way. False: there is nothing to draw."""

    def plot(path: Path) -> bool:
        if not figures:
            return False
        cases, ways = (list(dict.fromkeys(f[key] for f in figures)) for key in ("case", "way"))
        canvas, axes = pyplot.subplots(figsize=(max(WIDTH, len(cases) * 0.8), HEIGHT), dpi=DPI)
        width = 0.8 / len(ways)
        for number, way in enumerate(ways):
            own = [f for f in figures if f["way"] == way]
            places = [cases.index(f["case"]) + (number - (len(ways) - 1) / 2) * width for f in own]
            medians = [f["median"] for f in own]
            below = [f["median"] - min(f["values"]) for f in own]
            above = [max(f["values"]) - f["median"] for f in own]
            options: dict[str, Any] = {"color": COLOURS.get(way, OTHER), "label": way, "capsize": 2}
            axes.bar(places, medians, width, yerr=(below, above), error_kw={"linewidth": 0.8}, **options)
        axes.set_xticks(range(len(cases)), cases, rotation=30 if len(cases) > 8 else 0)
        axes.set_ylabel(figures[0]["quantity"])
        if logarithmic:
            axes.set_yscale("log")
        axes.legend(ncols=len(ways), fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        _finish(canvas, [axes], path)
        return True

    return plot


def curves(results: Results, quantity: str) -> Callable[[Path], bool]:
    """Draws every repetition of every way through each fault (grey), one picture below the other."""
    found = [c for c in results.scenarios.get("failure", {}).get("curves", []) if c["quantity"] == quantity]
    cases = list(dict.fromkeys(curve["case"] for curve in found))

    def plot(path: Path) -> bool:
        if not cases:
            return False
        canvas, rows = pyplot.subplots(
            len(cases), figsize=(WIDTH, 2.2 * len(cases)), dpi=DPI, sharex=True, squeeze=False
        )
        for axes, case in zip(rows[:, 0], cases, strict=True):
            for curve in found:
                if curve["case"] == case:
                    at, values = zip(*curve["points"], strict=True)
                    axes.plot(at, values, color=COLOURS.get(curve["way"], OTHER), linewidth=0.9, alpha=0.6)
            times = FULL if max(c["points"][-1][0] for c in found) > BRIEF.end else BRIEF
            axes.axvspan(times.fault, times.repair, color="#f2f2f2", zorder=0)
            axes.set_title(case, fontsize="small", loc="left")
            axes.set_ylabel(quantity)
            axes.set_ylim(bottom=0)
        rows[-1, 0].set_xlabel("seconds")
        _finish(canvas, rows[:, 0], path)
        return True

    return plot


def _finish(canvas: Any, rows: Iterable[Any], path: Path) -> None:
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
    canvas.tight_layout()
    canvas.savefig(path, metadata={"Software": None})
    pyplot.close(canvas)
