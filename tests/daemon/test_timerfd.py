"""The timer fires at its time, not before, also when that is past; one that was found due is silent."""

from __future__ import annotations

import asyncio
import resource
import select
from collections.abc import Iterator

import pytest

from mqvpn.daemon.timerfd import Timer, clock, sleep


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
        assert timer.due(clock())
        assert not fires(timer, 0)


def test_due_and_armed_for_the_same_time_again(timer: Timer) -> None:
    at = clock()
    timer.arm(at)
    assert timer.due(clock())
    assert not timer.due(clock())
    assert not fires(timer, 0.01)
    timer.arm(at)
    assert fires(timer, 1)


def test_due_before_the_descriptor_told(timer: Timer) -> None:
    at = clock() + 0.02
    timer.arm(at)
    assert timer.due(at)
    assert not fires(timer, 0.05)


def test_an_earlier_time_stays(timer: Timer) -> None:
    at = clock() + 0.02
    timer.arm(at)
    timer.arm(at + 60)
    assert fires(timer, 1)
    assert timer.due(clock())


def test_none_changes_nothing(timer: Timer) -> None:
    timer.arm(None)
    assert not fires(timer, 0.02)


def test_late_is_how_long_ago_it_should_have_fired(timer: Timer) -> None:
    assert timer.late(clock()) == 0
    at = clock() + 0.01
    timer.arm(at)
    assert (timer.late(at - 1), timer.late(at + 5)) == (0, 5)
    assert timer.due(at + 5)
    assert timer.late(at + 9) == 0


def test_sleep_lasts_as_long_as_asked_and_can_be_cancelled() -> None:
    async def run() -> float:
        began = clock()
        await sleep(0.05)
        took = clock() - began
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sleep(60), 0.01)
        return took

    assert 0.05 <= asyncio.run(run()) < 1


def test_sleep_needs_no_descriptor() -> None:
    """The loop has what it needs; none more can be opened."""

    async def run() -> float:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        began = clock()
        try:
            await sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        return clock() - began

    assert 0.05 <= asyncio.run(run()) < 1
