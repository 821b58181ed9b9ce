"""The timer fires at its time, not before, also when that is past; a cleared or disarmed one stays silent."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from mqvpn.daemon.timerfd import Timer, clock


@pytest.fixture
def timer() -> Iterator[Timer]:
    timer = Timer()
    yield timer
    timer.close()


def fires(timer: Timer, within: float) -> bool:
    return bool(select.select([timer], [], [], within)[0])


def test_fires_at_its_time(timer: Timer) -> None:
    at = clock() + 0.03
    timer.arm(at)
    assert fires(timer, 2)
    assert at <= clock() < at + 1


def test_a_time_in_the_past_fires_at_once(timer: Timer) -> None:
    for at in (clock() - 1, 0.0, -1.0):
        timer.arm(at)
        assert fires(timer, 1)
        timer.clear()


def test_cleared_and_armed_for_the_same_time_again(timer: Timer) -> None:
    at = clock()
    timer.arm(at)
    assert fires(timer, 1)
    timer.clear()
    assert not fires(timer, 0)
    timer.arm(at)
    assert fires(timer, 1)


def test_disarmed(timer: Timer) -> None:
    timer.arm(clock() + 0.02)
    timer.arm(None)
    assert not fires(timer, 0.05)


def test_clear_without_firing(timer: Timer) -> None:
    timer.clear()
    assert not fires(timer, 0)
