"""What the kernel says was stolen is what a test is told, and a test that failed meanwhile runs again."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.lab.net import wait_for
from tests.lab.stolen import Stolen, ticks


class Counters:
    """What the kernel says; the last answer stays."""

    def __init__(self) -> None:
        self.answers = [(1000, 50_000)]

    def __call__(self) -> tuple[int, int]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_the_counters_of_this_machine_grow() -> None:
    before = ticks()
    wait_for("a tick of the clock", lambda: ticks()[1] > before[1])
    assert ticks()[0] >= before[0]


def test_nothing_is_stolen_where_nothing_is_counted() -> None:
    watch = Stolen(Counters())
    assert (watch.share, watch.worst, watch.much) == (0.0, 0.0, False)


def test_the_worst_interval_counts_and_not_the_mean() -> None:
    counters = Counters()
    watch = Stolen(counters, 0.01)
    counters.answers = [(1000, 50_100), (1030, 50_200), (1030, 51_000)]
    watch.start()
    wait_for("the interval is over", lambda: watch.worst > 0)
    watch.stop()
    assert watch.worst == pytest.approx(0.3)
    assert watch.much
    assert "3% of the processors, 30% in the worst" in str(watch)
    watch.restart()
    assert not watch.much


def test_a_machine_that_stood_still_is_noticed() -> None:
    watch = Stolen().start()
    try:
        wait_for("a nap is over", lambda: watch.latest > 0)
        assert not watch.much
        subprocess.run(["sh", "-c", "kill -STOP $PPID; sleep 0.3; kill -CONT $PPID"], check=True)
        wait_for("it is noticed", lambda: watch.much)
        assert " ms late at worst" in str(watch)
    finally:
        watch.stop()


def test_it_goes_on_when_the_counters_could_not_be_read() -> None:
    """Some tests take all of the process's descriptors."""
    counters = Counters()
    calls: list[None] = []

    def read() -> tuple[int, int]:
        calls.append(None)
        if len(calls) == 2:
            raise OSError
        return counters()

    watch = Stolen(read, 0.01)
    counters.answers = [(1000, 50_100), (1030, 50_200)]
    watch.start()
    try:
        wait_for("the interval is over", lambda: watch.worst > 0)
    finally:
        watch.stop()


@pytest.mark.parametrize(("much", "outcome"), [(True, {"passed": 1, "rerun": 2}), (False, {"failed": 1})])
def test_a_failure_counts_unless_the_processor_was_stolen(
    pytester: pytest.Pytester, much: bool, outcome: dict[str, int]
) -> None:
    pytester.makeconftest(f"""
from tests.conftest import rerun_when_stolen
def pytest_collection_modifyitems(items):
    rerun_when_stolen(items, lambda: {much})
""")
    pytester.makepyfile("""
import pytest
tries = []
@pytest.mark.netns
def test_timing():
    tries.append(1)
    assert len(tries) == 3
""")
    result: Any = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    counts = result.parseoutcomes()
    assert {name: counts.get(name) for name in outcome} == outcome
