"""Challenges until one is answered."""

import pytest

from mqvpn.multipath.validation import INITIAL_PTO, Validation


def test_every_challenge_is_new_and_any_answer_counts() -> None:
    validation = Validation(10.0, pto=0.2)
    sent = [validation.challenge(10.0), validation.challenge(10.2)]
    assert sent[0] != sent[1]
    assert all(validation.is_answered_by(data) for data in sent)
    assert not validation.is_answered_by(b"guessing")


@pytest.mark.parametrize(
    ("pto", "expected"),
    [(0.02, [10.0, 10.1, 10.3, *(10.55 + n / 4 for n in range(10))]), (0.7, [10.0, 10.7, 11.4, 12.1, 12.8])],
    ids=["short", "long"],
)
def test_challenges_follow_until_time_is_up(pto: float, expected: list[float]) -> None:
    """At intervals that grow up to 250 ms; a longer PTO is the interval."""
    validation = Validation(10.0, pto=pto)
    times = []
    now = 10.0
    while not validation.has_failed(now):
        assert validation.is_due(now)
        validation.challenge(now)
        times.append(round(now, 3))
        now = validation.next_timeout()
    assert times == pytest.approx(expected)
    assert now == 10.0 + 3 * INITIAL_PTO


def test_a_slow_connection_waits_longer() -> None:
    validation = Validation(0.0, pto=5.0)
    assert not validation.has_failed(14.9)
    assert validation.has_failed(15.0)
