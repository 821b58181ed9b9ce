"""Challenges until one is answered."""

from mqvpn.multipath.validation import INITIAL_PTO, Validation


def test_every_challenge_is_new_and_any_answer_counts() -> None:
    validation = Validation(10.0, pto=0.2)
    sent = [validation.challenge(10.0), validation.challenge(10.2)]
    assert sent[0] != sent[1]
    assert all(validation.is_answered_by(data) for data in sent)
    assert not validation.is_answered_by(b"guessing")


def test_challenges_follow_at_growing_intervals_until_time_is_up() -> None:
    validation = Validation(10.0, pto=0.2)
    times = []
    now = 10.0
    while not validation.has_failed(now):
        assert validation.is_due(now)
        validation.challenge(now)
        times.append(round(now, 3))
        now = validation.next_timeout()
    assert times == [10.0, 10.2, 10.6, 11.4]
    assert now == 10.0 + 3 * INITIAL_PTO


def test_a_slow_connection_waits_longer() -> None:
    validation = Validation(0.0, pto=5.0)
    assert not validation.has_failed(14.9)
    assert validation.has_failed(15.0)
