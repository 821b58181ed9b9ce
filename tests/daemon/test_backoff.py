"""Waits double, are capped, and are spread."""

from __future__ import annotations

from mqvpn.daemon.backoff import AT_ONCE, LAST, REPLACED_LAST, RESTARTED, Backoff
from mqvpn.tunnel.events import Cause


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(1.0)
    for full in (1, 2, 4, 8, 16, 32, LAST, LAST):
        assert full / 2 <= backoff.next() <= full


def test_success_starts_over() -> None:
    backoff = Backoff(5.0)
    for _ in range(4):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= AT_ONCE
    assert AT_ONCE < backoff.next() <= 5.0


def test_waits_are_spread() -> None:
    assert len({Backoff(5.0).next() for _ in range(20)}) > 10


def test_a_restarted_server_is_asked_at_once_if_it_worked_before() -> None:
    backoff = Backoff(5.0)
    assert backoff.next(Cause.FORGOTTEN) >= 2.5
    backoff.reset()
    assert {backoff.next(Cause.FORGOTTEN) <= RESTARTED for _ in range(5)} == {True}
    assert backoff.next() <= AT_ONCE


def test_who_was_replaced_does_not_come_back_soon() -> None:
    backoff = Backoff(1.0)
    for full in (60, 120, 240):
        backoff.reset()
        assert full / 2 <= backoff.next(Cause.REPLACED) <= full
    for _ in range(10):
        assert backoff.next(Cause.REPLACED) <= REPLACED_LAST
