"""What a run of the bench measures, on which machine, and how far the repetitions lie apart: build/bench/*.json.

A figure belongs to a case ("TCP 4 up"), a way ("tunnel") and a quantity ("Mbit/s"). Every repetition is kept.
Curves are series over time, for the plots.
"""

from __future__ import annotations

import json
import os
import platform
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab.net import ROOT

DIRECTORY = ROOT / "build" / "bench"
Curve = list[tuple[float, float]]  # seconds, value


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


def revision() -> str:
    """The commit that is measured; "+" when files differ from it, empty outside a clone and without git."""
    argv = ("git", "describe", "--always", "--dirty=+", "--abbrev=12")
    try:
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


class Record:
    """The figures of one scenario, and how to go about it: `rounds` repetitions of `seconds` each."""

    def __init__(self, scenario: str, *, rounds: int, seconds: float) -> None:
        self.scenario, self.rounds, self.seconds = scenario, rounds, seconds
        self.notes: dict[str, list[str]] = {}  # by way: its version, why it is missing, what failed
        self._figures: dict[tuple[str, str, str], list[float]] = {}
        self.curves: tuple[dict[str, Any], ...] = ()
        self._machine, self._revision = machine(), revision()
        self._started = time.time()
        self._clock = time.monotonic()

    def add(self, case: str, way: str, quantity: str, value: float) -> None:
        self._figures.setdefault((case, way, quantity), []).append(value)

    def add_curve(self, case: str, way: str, quantity: str, points: Curve) -> None:
        rounded = [(round(at, 3), round(value, 3)) for at, value in points]
        self.curves += ({"case": case, "way": way, "quantity": quantity, "points": rounded},)

    def note(self, way: str, text: str) -> None:
        """Something to be said about a way: its version, or why it was not measured. Once is enough."""
        texts = self.notes.setdefault(way, [])
        if text not in texts:
            texts.append(text)
        self.say(f"{way}: {text}")

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.monotonic() - self._clock:6.0f} s  {self.scenario}: {text}", file=sys.stderr, flush=True)

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._started)),
            "took": round(time.monotonic() - self._clock),
            "revision": self._revision,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "machine": self._machine,
            "notes": self.notes,
            "figures": [_figure(*key, values) for key, values in self._figures.items()],
            "curves": self.curves,
        }

    def write(self) -> Path:
        """Put it into the directory of results, in place of an earlier run of the same scenario."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = DIRECTORY / f"{self.scenario}.json"
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        return path


def _figure(case: str, way: str, quantity: str, values: list[float]) -> dict[str, Any]:
    """All repetitions, their median, and the distance between the extremes as a share of it."""
    median = statistics.median(values)
    spread = (max(values) - min(values)) / abs(median) if median else 0.0
    return {
        "case": case,
        "way": way,
        "quantity": quantity,
        "values": [float(f"{value:.5g}") for value in values],
        "median": float(f"{median:.5g}"),
        "spread": round(spread, 3),
    }
