"""Waits double, are capped, and are spread."""

from __future__ import annotations

from mqvpn.daemon.backoff import AT_ONCE, LAST, Backoff


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
