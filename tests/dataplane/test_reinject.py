"""What is in flight on a path that fails goes out again on another: nothing is lost, nothing comes twice."""

import pytest

from mqvpn.dataplane.engine import LARGE_LOST, PATH_ALIVE
from mqvpn.wire.drop import Drop
from tests.dataplane.pair import Link, Pair, feed, packets
from tests.dataplane.test_resequence import numbers, spread_pair

FLOWS = 8
FAST, SLOW = 6_250_000, 2_500_000  # bytes per second


def reinjecting(links: list[Link], scheduler: str = "wlb") -> Pair:
    pair = spread_pair(links, scheduler)
    for end in (pair.client, pair.server):
        end.conn.set_reinjection(True)
    return pair


def two_links() -> list[Link]:
    return [Link(delay=0.010, rate=FAST), Link(delay=0.030, rate=SLOW)]


def small_flow(pair: Pair, seconds: float, first: int, port: int = 2000) -> int:
    """One small packet every two milliseconds; the number of the next one."""
    end = pair.now + seconds
    while pair.now < end:
        pair.client.push(packets(1, 160, port, first), pair.now)
        first += 1
        pair.run(0.002)
    return first


def large_flows(pair: Pair, count: int, interval: float, first: int, flows: int = 1) -> int:
    """So many packets of 1280 bytes, of so many flows in turn; the number of the next one."""
    for number in range(first, first + count):
        pair.client.push(packets(1, 1280, 2000 + number % flows, number), pair.now)
        pair.run(interval)
    return first + count


def carried(pair: Pair, path: int) -> int:
    return pair.client.conn.path(path).tx_packets


def busier(pair: Pair) -> int:
    return max(0, 1, key=lambda path: carried(pair, path))


@pytest.mark.parametrize("scheduler", ["wlb", "wlb_udp_pin", "minrtt", "redundant"])
@pytest.mark.parametrize("dies", ["silently", "with notice"])
def test_a_dying_path_loses_nothing(scheduler: str, dies: str) -> None:
    pair = reinjecting(two_links(), scheduler)
    sent = small_flow(pair, 1.0, 0)
    used = busier(pair)
    pair.links[used].down = True
    if dies == "with notice":
        pair.client.conn.abandon_path(used)
    sent = small_flow(pair, 1.0, sent)
    pair.run(1.0)
    assert sorted(numbers(pair)) == list(range(sent))


def test_a_path_that_takes_small_packets_only_loses_nothing() -> None:
    """It goes on to answer PINGs, so what it swallowed is known to be lost; then it is avoided until Python allows
    it."""
    pair = reinjecting(two_links())
    sent = large_flows(pair, 500, 0.002, 0, FLOWS)
    used = busier(pair)
    pair.links[used].mtu = 1250
    sent = large_flows(pair, 500, 0.002, sent, FLOWS)
    pair.run(1.0)
    assert sorted(numbers(pair)) == list(range(sent))
    assert [event[1:] for event in pair.client.events if event[0] == LARGE_LOST] == [(pair.client.conn.id, used)]
    pair.links[used].mtu = 0
    before = carried(pair, used)
    sent = large_flows(pair, 250, 0.002, sent, FLOWS)
    assert carried(pair, used) - before < 20
    pair.client.conn.set_path(used, narrow=False)
    large_flows(pair, 500, 0.002, sent, FLOWS)
    assert carried(pair, used) - before > 50


@pytest.mark.parametrize("moment", range(0, 10, 3))
def test_a_path_that_answers_with_small_packets_only_is_not_used_before_it_was_asked(moment: int) -> None:
    """It was silent for a moment, as nothing small was in flight. What is lost on it is too little to tell."""
    pair = reinjecting([Link(delay=0.010, rate=FAST), Link(delay=0.010, rate=FAST)])
    sent = large_flows(pair, 100, 0.01, 0)
    used = busier(pair)
    pair.run(moment * 0.001)
    pair.links[used].mtu = 1250
    while not any(event[0] == PATH_ALIVE for event in pair.client.events):
        sent = large_flows(pair, 1, 0.01, sent)
    before = carried(pair, used)
    sent = large_flows(pair, 4, 0.01, sent, flows=4)
    pair.run(1.0)
    assert carried(pair, used) - before < 3
    assert sorted(numbers(pair)) == list(range(sent))
    assert not any(event[0] == LARGE_LOST for event in pair.client.events)
    pair.links[used].mtu = 0
    pair.client.conn.set_path(used, narrow=False)
    before = carried(pair, used)
    large_flows(pair, 50, 0.01, sent, FLOWS)
    assert carried(pair, used) - before > 10


def test_without_it_what_was_in_flight_is_lost() -> None:
    pair = reinjecting(two_links())
    pair.client.conn.set_reinjection(False)
    sent = small_flow(pair, 1.0, 0)
    pair.links[0].down = pair.client.conn.path(0).tx_packets > pair.client.conn.path(1).tx_packets
    pair.links[1].down = not pair.links[0].down
    sent = small_flow(pair, 1.0, sent)
    pair.run(1.0)
    assert 5 < sent - len(numbers(pair)) < 100


def test_bulk_flows_neither_lose_nor_delay_the_small_packets_beside_them() -> None:
    """What a full path held goes out again, but not in front of the packets of sparse flows."""
    pair = reinjecting(two_links())
    died, small, gap = 3.0, 0, 0.0
    sent_at: list[float] = []
    heard = pair.now
    while pair.now < 5.0:
        pair.links[0].down = pair.now >= died
        pair.client.push(packets(1, 160, 2000, len(sent_at)), pair.now)
        sent_at.append(pair.now)
        for flow in range(4):
            if pair.client.conn.queued()[0] < 100:
                pair.client.push(packets(10, 1200, 3000 + flow), pair.now)
        pair.run(0.002)
        count = sum(len(packet) == 188 for packet in pair.server.received)
        heard, small = (pair.now, count) if count > small else (heard, small)
        gap = max(gap, pair.now - heard) if pair.now > died else 0.0
    pair.run(1.0)
    arrived = {int.from_bytes(packet[28:32], "big") for packet in pair.server.received if len(packet) == 188}
    lost = [number for number, at in enumerate(sent_at) if died - 0.1 < at < died + 0.5 and number not in arrived]
    assert gap < 0.2
    assert len(lost) <= 3


def test_what_comes_back_is_no_duplicate_for_the_tun() -> None:
    """A path that was only slow: its packets arrive after all, and are dropped by their numbers."""
    pair = reinjecting(two_links())
    sent = small_flow(pair, 1.0, 0)
    for link in pair.links[:1]:
        link.delay = 0.4
    sent = small_flow(pair, 2.0, sent)
    pair.run(2.0)
    arrived = numbers(pair)
    assert sorted(arrived) == list(range(sent))
    assert pair.server.engine.drops()[Drop.DUPLICATE] > 0


def test_what_went_out_again_does_not_do_so_at_the_next_failure() -> None:
    """What the path swallowed before it answered a PING is known to be lost, but is not missing."""
    pair = reinjecting(two_links())
    sent = small_flow(pair, 1.0, 0)
    used = busier(pair)
    pair.links[used].mtu = 100  # takes PINGs
    sent = small_flow(pair, 0.2, sent)
    pair.client.conn.abandon_path(used)
    sent = small_flow(pair, 0.2, sent)
    pair.run(1.0)
    assert sorted(numbers(pair)) == list(range(sent))
    assert pair.server.engine.drops()[Drop.DUPLICATE] == 0


def test_packets_that_are_too_old_stay_lost() -> None:
    """Both paths die; one comes back after a second: nobody waits for what was in flight then."""
    pair = reinjecting(two_links())
    sent = small_flow(pair, 0.5, 0)
    for link in pair.links:
        link.down = True
    before = len(numbers(pair))
    pair.run(1.2)
    pair.links[1].down = False
    pair.run(2.0)
    assert len(numbers(pair)) == before
    assert before >= sent - 20


def test_the_first_of_several_failures_is_survived_too() -> None:
    """What went out again may have to do so once more."""
    pair = reinjecting([*two_links(), Link(delay=0.050, rate=SLOW)])
    sent = small_flow(pair, 1.0, 0)
    pair.links[0].down = True
    sent = small_flow(pair, 0.08, sent)
    pair.links[1].down = True
    sent = small_flow(pair, 1.0, sent)
    pair.run(1.0)
    assert sorted(numbers(pair)) == list(range(sent))


def test_a_single_path_carries_no_numbers() -> None:
    alone, two = reinjecting([Link(delay=0.010)]), reinjecting([Link(delay=0.010), Link(delay=0.030)])
    for pair in (alone, two):
        small_flow(pair, 0.2, 0)
    size = [pair.client.conn.path(0).tx_bytes / pair.client.conn.path(0).tx_packets for pair in (alone, two)]
    assert 4 < size[1] - size[0] < 8


def test_a_large_flight_is_kept_whole() -> None:
    """The history grows with what is in flight: every packet of a path that dies under load arrives."""
    pair = reinjecting([Link(delay=delay, rate=40_000_000, queue=1 << 22) for delay in (0.050, 0.060)])
    feed(pair, 20_000_000, 2.0, flows=20)
    pair.links[0].down = True
    feed(pair, 2_000_000, 1.0, flows=20)
    pair.run(2.0)
    lost = pair.client.engine.drops()
    sent, _, received, _ = pair.client.conn.counters()[:2] + pair.server.conn.counters()[2:]
    assert sent - received < sent * 0.002, lost
