"""What the bench makes of its figures: medians, spread, recovery times, verdicts, the page."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench import failure, report
from tests.bench.record import Record, revision
from tests.bench.scenarios import SCENARIOS
from tests.bench.targets import TARGETS, Results, Target


def results(rounds: int = 3, **figures: tuple[float, ...]) -> Results:
    """Repetitions of "TCP 1 up" in the scenario `single`, by way."""
    record = Record("single", rounds=rounds, seconds=1)
    for way, values in figures.items():
        for value in values:
            record.add("TCP 1 up", way, "Mbit/s", value)
            record.add("TCP 1 up", way, "stolen %", value / 1000)
    record.note("openvpn", "not measured: openvpn is not installed")
    return read(record)


def read(*records: Record) -> Results:
    return Results({record.scenario: json.loads(json.dumps(record.as_json())) for record in records})


def measured(scenario: str, *figures: tuple[str, str, str, float]) -> Results:
    record = Record(scenario, rounds=1, seconds=1)
    for figure in figures:
        record.add(*figure)
    return read(record)


def page_of(found: Results, directory: Path, **pictures: dict[str, str]) -> str:
    page = directory / "README.md"
    report.write(found, page, pictures)
    return page.read_text()


def target(text: str) -> Target:
    return next(one for one in TARGETS if one.text.startswith(text))


def test_the_median_counts_and_every_repetition_is_kept() -> None:
    (figure, _) = results(tunnel=(90.0, 500.0, 100.0)).figures("single")
    assert (figure["median"], figure["values"]) == (100.0, [90.0, 500.0, 100.0])
    assert figure["spread"] == pytest.approx(4.1)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    more = Target("more", 90, lambda found: found.found("single", "TCP 1 up", "tunnel", "Mbit/s"))
    assert more.verdict(results(raw=(1.0,))) == "not measured"
    assert more.verdict(results(tunnel=(90.0,) * 5)) == "reached"
    assert more.verdict(results(tunnel=(89.0,))) == "MISSED"


def test_nothing_is_simply_reached_in_less_than_five_rounds() -> None:
    more = Target("more", 90, lambda found: found.found("single", "TCP 1 up", "tunnel", "Mbit/s"))
    assert more.verdict(results(tunnel=(90.0,))) == "reached in 1 round"
    assert more.verdict(results(5, tunnel=(90.0,) * 4)) == "reached in 4 rounds"


def test_a_share_was_measured_as_often_as_what_was_measured_less() -> None:
    share = target("TCP 1 up, share of the ceiling")
    found = share.value(results(5, ceiling=(100.0,) * 5, tunnel=(90.0,) * 4))
    assert found is not None
    assert (found.value, found.repetitions, found.rounds) == (0.9, 4, 5)
    assert share.value(results(ceiling=(0.0,), tunnel=(1.0,))) is None


def test_over_two_links_the_slower_direction_counts() -> None:
    figures = [("TCP 4 up", "wlb", "Mbit/s", 350.0), ("TCP 4 down", "wlb", "Mbit/s", 330.0)]
    four = target("300 + 80 Mbit/s, wlb, 4 flows")
    assert four.verdict(measured("dual", *figures)) == "MISSED"
    assert four.verdict(measured("dual", figures[0])) == "not measured"


def test_the_busier_daemon_is_drawn() -> None:
    found = measured(
        "cpu",
        ("300 Mbit/s up", "tunnel", "client CPU %", 9.0),
        ("300 Mbit/s up", "tunnel", "server CPU %", 11.0),
        ("300 Mbit/s down", "tunnel", "client CPU %", 10.0),
        ("300 Mbit/s down", "tunnel", "server CPU %", 8.0),
    )
    busier = found.busier("cpu", "CPU %")
    assert [(one["case"], one["median"]) for one in busier] == [("300 Mbit/s up", 11.0), ("300 Mbit/s down", 10.0)]
    assert {one["quantity"] for one in busier} == {"CPU %, busier daemon"}


@pytest.mark.parametrize(("back_at", "expected"), [(17.0, 1.3), (22.0, 6.3), (40.0, 12.0)])
def test_recovery_is_a_full_second_at_nine_tenths_of_the_old_rate(back_at: float, expected: float) -> None:
    times = failure.FULL
    curve = [(n / 4, 100.0 if n / 4 < times.fault or n / 4 >= back_at else 40.0) for n in range(4 * 28)]
    found = failure._recovery(curve, times)
    assert (found["Mbit/s before"], found["Mbit/s during"]) == (100.0, 40.0)
    assert found["s until 90 %"] == pytest.approx(expected)


def test_recovery_looks_no_better_by_the_clock_of_a_receiver_that_started_later() -> None:
    """Such a curve is early: what it shows from 16.72 s on happened at 17 s."""
    times, late = failure.FULL, 0.28
    curve = [(n / 4 + 0.05, 100.0 if n / 4 + 0.05 + late >= 17 else 40.0) for n in range(4 * 16, 4 * 28)]
    before = [(n / 4 + 0.05, 100.0) for n in range(4 * 8)]
    assert failure._recovery(before + curve, times)["s until 90 %"] >= 17 - times.repair


def test_the_rates_before_and_during_a_fault_have_nothing_of_what_comes_after() -> None:
    """By such a clock the last steps before the fault and before the repair are in truth behind it."""
    times, late = failure.FULL, 0.28
    begins = [n / 4 + 0.05 for n in range(4 * 27)]
    curve = [(at, 40.0 if times.fault < at + late + failure.STEP and at + late < 16 else 100.0) for at in begins]
    curve = [(at, 70.0 if at < times.repair < at + late + failure.STEP else rate) for at, rate in curve]
    found = failure._recovery(curve, times)
    assert (found["Mbit/s before"], found["Mbit/s during"]) == (100.0, 40.0)


def test_a_step_that_later_ones_make_up_for_is_not_recovered_yet() -> None:
    times = failure.FULL
    rates = {16.0: 70.0, 16.25: 100.0, 16.5: 100.0, 16.75: 100.0}
    curve = [(n / 4, 100.0 if n / 4 < 8 or n / 4 >= 17 else rates.get(n / 4, 40.0)) for n in range(4 * 28)]
    assert failure._recovery(curve, times)["s until 90 %"] == pytest.approx(0.25 + failure.LATE)


def test_the_page_has_every_way_and_says_what_is_missing(tmp_path: Path) -> None:
    found = results(2, ceiling=(1000.0, 1200.0), tunnel=(880.0, 920.0), raw=(18000.0,))
    text = page_of(found, tmp_path, single={"throughput.png": "TCP throughput"})
    assert "| TCP 1 up | 1,100 ± 100 | 900 ± 20 | 18,000 (1 of 2) |" in text
    assert "| TCP 1 up, share of the ceiling | at least 0.8 | 0.818 | 2 | reached in 2 rounds |" in text
    assert "- openvpn: not measured: openvpn is not installed" in text
    assert "![single: TCP throughput](throughput.png)" in text
    assert ", 2 rounds of 1 s; the hypervisor took at most 18 % of" in text
    assert "| stolen" not in text


def test_the_page_tells_a_stranger_what_each_scenario_is(tmp_path: Path) -> None:
    text = page_of(results(1, tunnel=(100.0,)), tmp_path)
    for name, scenario in SCENARIOS.items():
        assert scenario.__doc__
        described = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert scenario.__doc__[1:] in described
        assert ("Not measured." in described) == (name != "single")
    assert ", 1 round of 1 s" in text


def test_a_case_that_failed_each_time_is_none_of_all(tmp_path: Path) -> None:
    record = Record("single", rounds=3, seconds=1)
    for case in ("TCP 1 up", "TCP 4 up"):
        record.add(case, "raw", "Mbit/s", 100.0)
    record.add("TCP 1 up", "tunnel", "Mbit/s", 90.0)
    assert "| TCP 4 up | 100 (1 of 3) | 0 of 3 |" in page_of(read(record), tmp_path)


def test_every_note_is_kept_and_said_once(tmp_path: Path) -> None:
    record = Record("latency", rounds=3, seconds=1)
    for text in ("OpenVPN 2.6", "first failure", "second failure", "OpenVPN 2.6"):
        record.note("openvpn", text)
    assert "- openvpn: OpenVPN 2.6\n- openvpn: first failure\n- openvpn: second failure\n" in page_of(
        read(record), tmp_path
    )


def test_another_machine_is_told_by_its_scenarios(tmp_path: Path) -> None:
    records = [Record(name, rounds=1, seconds=1) for name in ("single", "latency", "cpu")]
    assert page_of(read(*records), tmp_path).count("- kernel: ") == 1
    records[1]._machine = records[1]._machine | {"kernel": "6.6.6"}
    text = page_of(read(*records), tmp_path)
    assert text.count("- kernel: ") == 2
    assert "For latency:\n\n- cpu: " in text
    assert "For single, cpu:\n\n- cpu: " in text


def test_memory_is_said_to_be_anonymous(tmp_path: Path) -> None:
    found = measured(
        "clients", ("1 client", "tunnel", "server MB", 30.0), ("9 clients", "tunnel", "kB per client", 90.0)
    )
    text = page_of(found, tmp_path)
    assert "| server, MB of anonymous memory | tunnel |" in text
    assert "| kB of anonymous memory per client | tunnel |" in text


def test_without_git_the_revision_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", absent)
    assert revision() == ""
