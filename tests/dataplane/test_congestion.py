"""Congestion control: each algorithm on one link, alone and against others; sources that are always full."""

from statistics import fmean

import pytest

from tests.dataplane.contest import MEGABIT, Contest
from tests.dataplane.pair import Link, Pair, goodput, packets

RTT = 0.040


def link(loss: float = 0.0, buffer: float = 1.0, rate: float = 100) -> Link:
    """A link of 100 Mbit/s and 40 ms; buffer in bandwidth-delay products of it."""
    return Link(delay=RTT / 2, rate=rate * MEGABIT, loss=loss, queue=int(rate * MEGABIT * RTT * buffer))


def alone(algorithm: str, seconds: float, **settings: float) -> Contest:
    contest = Contest(link(**settings), [algorithm])
    contest.run(seconds)
    return contest


@pytest.mark.parametrize(("loss", "least"), [(0.0, 90), (0.01, 85), (0.05, 70)])
def test_bbr_keeps_its_rate_on_a_link_that_loses_packets(loss: float, least: float) -> None:
    assert alone("bbr", 6, loss=loss).rate(0, 0) >= least


def test_bbr_leaves_no_standing_queue() -> None:
    contest = alone("bbr", 6, buffer=4)
    assert contest.queue(2) < 0.4 * RTT
    assert max(s.queue for s in contest.samples[0] if s.at > 2) < 1.2 * RTT


def test_bbr_finds_a_shallow_buffer_enough() -> None:
    assert alone("bbr", 6, buffer=0.2).rate(0, 2) > 80


def test_cubic_fills_a_clean_link_and_backs_off_on_loss() -> None:
    assert alone("cubic", 6).rate(0, 2) > 92
    assert alone("cubic", 6, loss=0.01).rate(0, 2) < 10


@pytest.mark.parametrize("loss", [0.0, 0.01])
@pytest.mark.parametrize("buffer", [1.0, 2.0])
def test_two_bbr_connections_share_a_link(loss: float, buffer: float) -> None:
    contest = Contest(link(loss=loss, buffer=buffer), ["bbr", "bbr"])
    contest.run(12)
    first, second = (contest.rate(number, 5) for number in (0, 1))
    assert first + second > 85
    assert 0.4 <= first / (first + second) <= 0.6


@pytest.mark.parametrize("seed", range(1, 4))
def test_two_bbr_connections_share_a_link_with_a_shallow_buffer(seed: int) -> None:
    """Losses in a round that also saw a queue are taken for congestion, however few: else who has more keeps it."""
    contest = Contest(link(buffer=0.5), ["bbr", "bbr"], seed=seed)
    contest.run(12)
    first, second = (contest.rate(number, 4) for number in (0, 1))
    assert first + second > 85
    assert 0.4 <= first / (first + second) <= 0.6


@pytest.mark.parametrize("buffer", [1.0, 2.0])
def test_bbr_and_cubic_starve_neither(buffer: float) -> None:
    """The mean of some contests: in the deeper buffer BBR has 25 to 27, by the chance that decides when it probes."""
    shares = []
    for seed in range(1, 5):
        contest = Contest(link(buffer=buffer), ["bbr", "cubic"], seed=seed)
        contest.run(12)
        shares.append((contest.rate(0, 5), contest.rate(1, 5)))
    assert min(map(fmean, zip(*shares, strict=True))) > 25


@pytest.mark.parametrize("buffer", [1.0, 4.0])
def test_bbr_follows_a_link_that_changes_its_rate(buffer: float) -> None:
    contest = alone("bbr", 6, buffer=buffer)
    contest.link.rate /= 2
    contest.run(5)
    assert contest.rate(0, 8, 11) > 42
    assert contest.queue(8, 11) < RTT
    contest.link.rate *= 2
    contest.run(4)
    assert contest.rate(0, 13, 15) > 85


def test_bbr_fills_a_lan() -> None:
    contest = Contest(Link(delay=0.0002, rate=400 * MEGABIT, queue=130_000), ["bbr"])
    contest.run(2)
    assert contest.rate(0, 0.5) > 0.85 * 400


def test_bbr_fills_a_satellite_link() -> None:
    contest = Contest(Link(delay=0.3, rate=20 * MEGABIT, queue=1_500_000), ["bbr"])
    contest.run(30)
    assert contest.rate(0, 10) > 0.7 * 20


@pytest.mark.parametrize(("algorithm", "most"), [("bbr", 0.006), ("cubic", 0.012)])
def test_the_first_flow_of_a_tunnel_does_not_queue_behind_its_own_first_flight(algorithm: str, most: float) -> None:
    """A few small packets went before it. Slow start of the inner flow would end at once: it sees its RTT rise."""
    pair = Pair([Link(delay=RTT / 2)])
    pair.client.conn.set_congestion(algorithm)
    for _ in range(5):
        pair.client.push(packets(1, 60), pair.now)
        pair.run(0.1)
    pair.client.push(packets(10), pair.now)
    pair.run(RTT / 2 + most)
    assert len(pair.server.received) == 5 + 10


def test_a_source_that_was_quiet_does_not_make_bbr_forget_the_rate() -> None:
    contest = alone("bbr", 4)
    contest.run(5, lambda pair: None if pair.client.conn.queued()[0] else pair.client.push(packets(1), pair.now))
    began = contest.now - contest.began
    contest.run(1)
    assert contest.rate(0, began) > 80


def test_bbr_restarts_after_silence() -> None:
    contest = alone("bbr", 3)
    contest.link.down = True
    contest.run(2)
    contest.link.down = False
    contest.run(2)
    assert contest.rate(0, 6) > 80


def test_none_has_no_window_and_no_pacing() -> None:
    pair = Pair([Link(delay=0.1)])
    pair.client.conn.set_congestion("none")
    pair.client.push(packets(60), pair.now)
    pair.client.conn.set_path(0, mtu=1400)
    began = pair.now
    while len(pair.server.received) < 60:
        pair.run(0.005)
    assert pair.now - began < 0.111
    assert goodput(pair, 1, 10_000_000) > 8_500_000


def test_an_unknown_algorithm_is_refused() -> None:
    pair = Pair([Link()])
    with pytest.raises(KeyError):
        pair.client.conn.set_congestion("reno")


def test_paths_opened_later_use_the_connection_s_algorithm() -> None:
    pair = Pair([Link(), Link()])
    pair.client.conn.set_congestion("none")
    pair.client.conn.forget_path(1)
    pair.client.conn.del_cid(pair.cid(False, 1))
    pair.open(pair.client, 1)
    assert pair.client.conn.path(1).cwnd > 1e12
