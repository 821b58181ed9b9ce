"""A measurement during which the hypervisor took the processors is made again, whatever it said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench import measure
from tests.bench.measure import alternate
from tests.bench.record import Record
from tests.bench.ways import Way
from tests.lab.net import LabError
from tests.lab.stolen import Stolen


class Counted(Stolen):
    """Says what it is told to have seen, one share for each measurement."""

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self._shares = list(shares)

    @property
    def share(self) -> float:
        return self._shares[0]

    def next(self) -> None:
        self._shares.pop(0)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.0,), {"Mbit/s": 1.0, "stolen %": 0.0}),
        ((0.4, 0.2, 0.01), {"Mbit/s": 3.0, "stolen %": 1.0}),
        ((0.4, 0.3, 0.2, 0.1), {"Mbit/s": 4.0, "stolen %": 10.0}),
    ],
    ids=["calm", "calm at last", "never calm"],
)
def test_what_was_disturbed_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...], expected: dict[str, float]
) -> None:
    stolen, record = Counted(0.0, *shares), Record("single", rounds=1, seconds=1)
    monkeypatch.setattr(measure, "wait_for_calm", lambda stolen: None)
    tries: list[float] = []

    def figures(way: Any) -> measure.Figures:
        stolen.next()
        tries.append(len(tries) + 1.0)
        record.add_curve("TCP 1 up", "tunnel", "Mbit/s", [(0.0, tries[-1])])
        return {"Mbit/s": tries[-1]}

    way: Any = type("Way", (), {"name": "tunnel"})
    assert measure.undisturbed(record, figures, way, stolen) == pytest.approx(expected)
    assert [curve["points"] for curve in record.curves] == [[(0.0, expected["Mbit/s"])]]


def test_calm_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CALM", 0.01)
    monkeypatch.setattr(measure, "PATIENCE", 0.05)
    measure.wait_for_calm(Counted(0.4))


def test_every_failed_repetition_is_noted_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "wait_for_calm", lambda stolen: None)
    record, way = Record("single", rounds=3, seconds=1), Way("tunnel", *[None] * 3)  # type: ignore[arg-type]
    answers: list[float | None] = [None, 7.0, None]

    def figures(way: Way) -> measure.Figures:
        answer = answers.pop(0)
        if answer is None:
            raise LabError("iperf3 broke off")
        return {"Mbit/s": answer}

    alternate(record, [way], {"TCP 1 up": figures})
    assert record.as_json()["figures"][0]["values"] == [7.0]
    reason = "failed: iperf3 broke off"
    assert record.notes == {"tunnel": [f"TCP 1 up, round 1 {reason}", f"TCP 1 up, round 3 {reason}"]}
