"""What the bench makes of its figures: medians, spread, recovery times, verdicts, the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import failure, report
from tests.bench.record import Record
from tests.bench.targets import Results, Target


def results(**figures: tuple[float, ...]) -> Results:
    """Repetitions of "TCP 1 up" in the scenario `single`, by way."""
    record = Record("single", rounds=3, seconds=1)
    for way, values in figures.items():
        for value in values:
            record.add("TCP 1 up", way, "Mbit/s", value)
    record.notes["openvpn"] = "not measured: openvpn is not installed"
    scenario = json.loads(json.dumps(record.as_json()))
    return Results({"single": scenario})


def test_the_median_counts_and_every_repetition_is_kept() -> None:
    (figure,) = results(tunnel=(90.0, 500.0, 100.0)).figures("single")
    assert (figure["median"], figure["values"]) == (100.0, [90.0, 500.0, 100.0])
    assert figure["spread"] == pytest.approx(4.1)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    target = Target("more", 90, lambda found: found.median("single", "TCP 1 up", "tunnel", "Mbit/s"))
    assert target.verdict(results(raw=(1.0,))) == "not measured"
    assert target.verdict(results(tunnel=(90.0,))) == "reached"
    assert target.verdict(results(tunnel=(89.0,))) == "MISSED"


@pytest.mark.parametrize(("back_at", "expected"), [(17.0, 1.0), (22.0, 6.0), (40.0, 12.0)])
def test_recovery_is_a_full_second_at_nine_tenths_of_the_old_rate(back_at: float, expected: float) -> None:
    times = failure.FULL
    curve = [(n / 4, 100.0 if n / 4 < times.fault or n / 4 >= back_at else 40.0) for n in range(4 * 28)]
    found = failure._recovery(curve, times)
    assert (found["Mbit/s before"], found["Mbit/s during"]) == (100.0, 40.0)
    assert found["s until 90 %"] == pytest.approx(expected, abs=0.26)


def test_the_page_has_every_way_and_says_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    report.write(results(ceiling=(1000.0, 1200.0), tunnel=(880.0, 920.0)), page, {"single": ["throughput.png"]})
    text = page.read_text()
    assert "| TCP 1 up | 1100 ± 100 | 900 ± 20 |" in text
    assert "| TCP 1 up, share of the ceiling | at least 0.8 | 0.818 | reached |" in text
    assert "- openvpn: not measured: openvpn is not installed" in text
    assert "![throughput](throughput.png)" in text
