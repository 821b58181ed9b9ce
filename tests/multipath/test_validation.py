"""Challenges until one is answered, probes until a size is proven."""

from mqvpn.multipath.validation import INITIAL_PTO, PROOF_SIZES, PROOF_TRIES, MtuProof, Validation


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


def test_a_proven_size_ends_the_search_below_it() -> None:
    proof = MtuProof(largest=65527)
    assert proof.sizes() == list(PROOF_SIZES)
    proof.proven(PROOF_SIZES[0])
    assert not proof.retry(PROOF_SIZES[1])


def test_lost_probes_are_repeated_a_few_times() -> None:
    proof = MtuProof(largest=65527)
    for size in PROOF_SIZES:
        assert [proof.retry(size) for _ in range(PROOF_TRIES)] == [True] * (PROOF_TRIES - 1) + [False]
    assert proof.is_hopeless()


def test_nothing_larger_than_the_peer_takes_is_tried() -> None:
    assert MtuProof(largest=1350).sizes() == [1350, 1331]
