"""Acknowledgement, RTT, loss and probes of one path, to the moment (RFC 9002); the peer is the test."""

from itertools import pairwise

import pytest

from mqvpn.dataplane import engine as e
from tests.dataplane.pair import Link, Pair, feed
from tests.dataplane.scripted import CLIENT, PING, Scripted

RTT = 0.040
MAX_ACK_DELAY = 0.025  # the peer's, unless it says otherwise


def ready(paths: int = 1, rtt: float = RTT) -> Scripted:
    """An engine that knows the RTT of its paths and has nothing in flight."""
    end = Scripted(paths)
    for path in range(paths):
        end.settle(rtt, path)
    end.transmit()
    end.events.clear()
    return end


def lost(end: Scripted, path: int = 0) -> int:
    return end.conn.path(path).lost


# RTT (section 5)


def test_the_first_sample_and_the_average_of_the_next() -> None:
    end = Scripted()
    end.settle(0.100)
    stats = end.conn.path(0)
    assert (stats.srtt, stats.rttvar) == (pytest.approx(0.100), pytest.approx(0.050))
    numbers = end.ping()
    end.now += 0.180
    end.ack(numbers, delay=0.016)
    stats = end.conn.path(0)
    assert stats.latest_rtt == pytest.approx(0.180)
    assert stats.rttvar == pytest.approx(0.75 * 0.050 + 0.25 * 0.064)
    assert stats.srtt == pytest.approx(0.875 * 0.100 + 0.125 * 0.164)
    assert stats.min_rtt == pytest.approx(0.100)
    assert stats.pto == pytest.approx(stats.srtt + 4 * stats.rttvar + MAX_ACK_DELAY)


def test_an_ack_delay_counts_up_to_the_peers_limit_and_not_below_the_minimum() -> None:
    end = Scripted()
    end.settle(0.100)
    numbers = end.ping()
    end.now += 0.180
    end.ack(numbers, delay=0.150)
    assert end.conn.path(0).srtt == pytest.approx(0.875 * 0.100 + 0.125 * (0.180 - MAX_ACK_DELAY))
    before = end.conn.path(0).srtt
    numbers = end.ping()
    end.now += 0.110
    end.ack(numbers, delay=0.020)
    assert end.conn.path(0).srtt == pytest.approx(0.875 * before + 0.125 * 0.110)


def test_a_sample_needs_news_of_an_ack_eliciting_packet() -> None:
    end = ready()
    flying = end.ping()
    end.now += 0.010
    end.hear(PING)
    [(_, quiet, _)] = end.transmit()  # our ack: not ack-eliciting
    end.now += 0.050
    end.ack([*flying, quiet])
    assert end.conn.path(0).latest_rtt == pytest.approx(0.050)
    end.now += 1.0
    end.hear(PING)
    [(_, quiet, _)] = end.transmit()
    end.now += 0.7
    end.ack([quiet])
    assert end.conn.path(0).latest_rtt == pytest.approx(0.050)


def test_an_ack_that_took_another_path_gives_no_sample() -> None:
    end = ready(2)
    numbers = end.ping(0)
    end.now += 0.3
    end.ack(numbers, 0, via=1)
    assert end.conn.path(0).latest_rtt == pytest.approx(RTT)
    assert end.conn.path(0).in_flight == 0


def test_a_path_without_samples_waits_a_second() -> None:
    assert Scripted().conn.path(0).pto == pytest.approx(3 * 0.333 + MAX_ACK_DELAY)


# Loss (section 6.1)


def test_three_later_packets_decide() -> None:
    end = ready()
    numbers = end.ping(count=6)
    end.now += RTT
    end.ack([numbers[3]])
    assert lost(end) == 1
    end.ack([numbers[5]])
    assert lost(end) == 3


def test_nine_eighths_of_an_rtt_decide_to_the_moment() -> None:
    end = ready()
    sent_at = end.now
    numbers = end.ping(count=2)
    end.now += RTT
    end.ack([numbers[1]])
    assert lost(end) == 0
    due = end.engine.next_timeout()
    assert due == pytest.approx(sent_at + RTT * 9 / 8)
    end.timeout(due - 1e-6)
    assert lost(end) == 0
    end.timeout(due)
    assert lost(end) == 1
    assert end.conn.path(0).in_flight == 0


def test_what_was_sent_to_an_old_address_tells_nothing_of_the_new_one() -> None:
    end = ready()
    numbers = end.ping(count=9)
    end.conn.set_address(0, 0, ("198.51.100.1", 443), CLIENT)
    end.conn.restart_path(0)
    window = end.conn.path(0).cwnd
    assert end.conn.path(0).in_flight == 0
    end.now += 0.5
    end.ack(numbers[8:])
    stats = end.conn.path(0)
    assert (stats.srtt, stats.in_flight, stats.cwnd, stats.lost) == (0.0, 0, window, 8)


# Persistent congestion (section 7.6)


def steady() -> Scripted:
    """An engine whose PTO is the RTT, a millisecond and the peer's delay; its smallest RTT lies further back."""
    end = Scripted()
    for rtt in [RTT / 2, *[RTT] * 100]:
        end.settle(rtt)
    assert end.conn.path(0).pto == pytest.approx(RTT + 0.001 + MAX_ACK_DELAY, abs=1e-5)
    return end


def silence(end: Scripted, count: int, acked: int = -1) -> None:
    """A packet each 20 ms, of which only the last, and `acked`, are acknowledged."""
    numbers = []
    for _ in range(count):
        numbers += end.ping()
        end.now += 0.020
    end.now += 0.020
    end.ack([numbers[acked], numbers[-1]])


def test_congestion_is_persistent_after_three_ptos_without_any_ack() -> None:
    end = steady()
    window = end.conn.path(0).cwnd
    silence(end, 12)  # 200 ms between the first lost packet and the last
    assert lost(end) == 11
    assert end.conn.path(0).cwnd < window / 4
    assert end.conn.path(0).min_rtt == pytest.approx(RTT)


@pytest.mark.parametrize(("count", "acked"), [(11, -1), (16, 8)])
def test_congestion_is_not_persistent(count: int, acked: int) -> None:
    """The lost packets are 180 ms apart; or one in between arrived."""
    end = steady()
    window = end.conn.path(0).cwnd
    silence(end, count, acked)
    assert lost(end) >= 10
    assert window / 4 < end.conn.path(0).cwnd < window
    assert end.conn.path(0).min_rtt == pytest.approx(RTT / 2)


def test_congestion_is_not_persistent_before_an_rtt_is_known() -> None:
    end = Scripted()
    window = end.conn.path(0).cwnd
    silence(end, 60)
    assert lost(end) == 59
    assert end.conn.path(0).cwnd > window / 4


# Losses that were none


def test_a_reduction_is_undone_when_every_loss_was_none() -> None:
    end = ready()
    window = end.conn.path(0).cwnd
    numbers = end.ping(count=8)
    end.now += RTT
    end.ack(numbers[5:])
    stats = end.conn.path(0)
    assert stats.lost == 5
    assert stats.cwnd < window
    end.now += 0.002
    end.ack(numbers[1:])
    assert end.conn.path(0).spurious == 4
    assert end.conn.path(0).cwnd < window
    end.ack(numbers)
    assert end.conn.path(0).spurious == 5
    assert end.conn.path(0).cwnd >= window


def test_the_packet_threshold_learns_from_reordering() -> None:
    end = ready()
    numbers = end.ping(count=8)
    end.now += RTT
    end.ack(numbers[5:])
    end.ack(numbers)
    before = lost(end)
    numbers = end.ping(count=8)
    end.now += RTT
    end.ack(numbers[5:])
    assert lost(end) == before
    end.ack(numbers)
    assert end.conn.path(0).spurious == 5


def test_the_time_threshold_learns_from_reordering() -> None:
    end = ready()
    waits = []
    for _ in range(5):
        sent_at = end.now
        numbers = end.ping(count=2)
        end.now = sent_at + RTT
        end.ack(numbers[1:])
        due = end.engine.next_timeout()
        assert due is not None
        waits.append((due - sent_at) / RTT)
        end.timeout(due)
        end.ack(numbers)
        end.now += 1.0
    assert waits == pytest.approx([1.125, 1.25, 1.5, 2.0, 2.0])


def test_a_reordering_network_costs_no_packets_for_long() -> None:
    pair = Pair([Link(delay=0.020, reorder=0.3)])
    feed(pair, 1_000_000, 1)
    first = pair.client.conn.path(0)
    feed(pair, 1_000_000, 5)
    stats = pair.client.conn.path(0)
    assert first.spurious > 0
    assert stats.lost - first.lost <= 5


# Optimistic acks


@pytest.mark.parametrize("path", [0, 1])
def test_a_number_that_was_skipped_must_not_be_acknowledged(path: int) -> None:
    end = ready(2)
    numbers: list[int] = []
    while not numbers or numbers[-1] - numbers[0] == len(numbers) - 1:
        numbers += end.ping(path, count=4)
        if len(numbers) > 60:
            end.now += RTT
            end.ack(numbers[:50], path)
            del numbers[:50]
    end.ack(numbers, path)
    assert e.ERROR not in end.kinds()
    end.ack(range(numbers[0], numbers[-1] + 1), path)
    assert [event[2] for event in end.events if event[0] == e.ERROR] == [0x0A]


def test_skipped_numbers_differ_and_grow_rare() -> None:
    def skipped(seed: int) -> list[int]:
        end = Scripted(seed=seed)
        found: list[int] = []
        last = -1
        for _ in range(3000):
            [number] = end.ping()
            found += range(last + 1, number)
            end.ack([number])
            last = number
        return found

    several = [skipped(seed) for seed in range(4)]
    assert len({tuple(found) for found in several}) == 4
    assert all(3 <= len(found) <= 40 and found[0] <= 65 for found in several)


# Probes and silence (section 6.2; multipath draft, section 5.7)


def test_control_data_of_a_silent_path_is_given_up_after_one_pto_and_the_path_is_suspect() -> None:
    end = ready(2)
    sent_at, pto = end.now, end.conn.path(0).pto
    end.ping(0, token=7)
    due = end.engine.next_timeout()
    assert due == pytest.approx(sent_at + pto)
    end.timeout(due - 1e-6)
    assert e.TOKEN not in end.kinds()
    end.timeout(due)
    assert (e.TOKEN, 0, 7, False) in end.events
    assert e.PATH_SUSPECT in end.kinds()
    end.conn.send(b"\x10\x05", token=8)
    again = end.transmit()
    assert [path for path, _, payload in again if payload.startswith(b"\x10\x05")] == [1]
    assert [path for path, _, payload in again if payload.startswith(PING)] == [0]


def test_probes_go_on_with_backoff_but_never_rarer_than_half_a_second() -> None:
    end = ready()
    end.ping()
    moments = []
    for _ in range(8):
        end.timeout()
        moments.append(end.now)
        assert [payload for _, _, payload in end.transmit()] == [PING.ljust(4, b"\0")] * 2
    pto = end.conn.path(0).pto
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps == pytest.approx([pto, pto, 2 * pto, *[0.5] * 4])


def test_control_data_is_sent_again_whatever_the_window() -> None:
    end = ready()
    while end.conn.path(0).in_flight + 1500 < end.conn.path(0).cwnd:
        end.conn.send(PING, path_id=0, pad_to=1400)
        end.transmit()
    end.ping(token=7)
    end.conn.send(PING, path_id=0, pad_to=1400)
    end.transmit()
    end.conn.send(b"\x10\x06", token=8)
    assert end.transmit() == []
    end.timeout()
    assert (e.TOKEN, 0, 7, False) in end.events
    assert [payload[:2] for _, _, payload in end.transmit()] == [b"\x10\x06", PING[:2]]


def test_a_late_wake_up_is_not_the_paths_silence() -> None:
    end = ready(2)
    numbers = end.ping(0)
    pto = end.conn.path(0).pto
    end.timeout(end.now + pto + 0.030)
    end.transmit()
    assert e.PATH_SUSPECT not in end.kinds()
    end.now += 0.001
    end.ack(numbers)  # it was waiting in the socket
    assert not end.conn.path(0).suspect
    end.ping(0)
    end.timeout(end.now + end.conn.path(0).pto + 0.030)
    end.transmit()
    due = end.engine.next_timeout()
    assert due == pytest.approx(end.now + end.conn.path(0).pto)
    end.timeout(due)
    assert e.PATH_SUSPECT in end.kinds()


def test_paths_that_are_silent_together_wait_for_the_peer_once() -> None:
    end = ready(2)
    for path in (0, 1):
        end.ping(path)
    end.timeout()
    end.transmit()
    assert e.PATH_SUSPECT not in end.kinds()
    end.timeout()
    assert e.PATH_SUSPECT in end.kinds()


def test_a_path_whose_peer_is_heard_elsewhere_is_suspect_at_once() -> None:
    end = ready(2)
    for path in (0, 1):
        end.ping(path)
    end.now += 0.010
    end.hear(PING, path=1)
    end.transmit()
    end.timeout(end.engine.next_timeout())
    while not end.kinds().count(e.PATH_SUSPECT):
        end.transmit()
        end.timeout()
    assert end.now <= 1.0 + 2 * RTT + end.conn.path(0).pto + 1e-6
