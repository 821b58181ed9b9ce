"""Flows that use several paths at once arrive in order, each packet once, whatever the paths do."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.wire.drop import Drop
from tests.dataplane.pair import Link, Pair, feed, goodput, packets


def spread_pair(links: list[Link], scheduler: str = "wlb", seed: int = 1) -> Pair:
    pair = Pair(links, scheduler=scheduler, seed=seed)
    for end in (pair.client, pair.server):
        end.conn.set_spread(True)
    return pair


def numbers(pair: Pair) -> list[int]:
    return [int.from_bytes(packet[28:32], "big") for packet in pair.server.received]


@pytest.mark.parametrize("scheduler", ["wlb", "minrtt"])
def test_one_flow_uses_the_sum_of_both_paths(scheduler: str) -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)], scheduler)
    goodput(pair, 2, 10_000_000)
    assert goodput(pair, 4, 10_000_000) > 0.9 * 8_750_000


@pytest.mark.parametrize("scheduler", ["wlb", "minrtt"])
def test_one_flow_arrives_in_order(scheduler: str) -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)], scheduler)
    feed(pair, 10_000_000, 3)
    arrived = numbers(pair)
    late = sum(b < a for a, b in pairwise(arrived))
    assert len(arrived) > 10_000
    assert late < len(arrived) * 0.002
    assert len(set(arrived)) == len(arrived)


def test_a_lost_packet_does_not_hold_up_the_others_for_long() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000, loss=0.01), Link(delay=0.025, rate=2_500_000, loss=0.01)])
    check_only_what_is_lost_is_missing(pair)


def check_only_what_is_lost_is_missing(pair: Pair) -> None:
    """Of one flow for four seconds, and nearly all of it arrives in order."""
    sent = feed(pair, 5_000_000, 4)
    pair.run(10)
    arrived = numbers(pair)
    given_up = sum(pair.client.engine.drops()[drop] for drop in (Drop.QUEUE_DELAY, Drop.QUEUE_FULL))
    lost = sum(pair.client.conn.path(n).lost for n in (0, 1))
    assert len(arrived) >= sent - given_up - lost
    assert sum(b < a for a, b in pairwise(arrived)) < len(arrived) * 0.01


def test_a_dying_path_stalls_the_flow_no_longer_than_its_silence() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    feed(pair, 8_000_000, 2)
    pair.links[0].down = True
    gap, last, count = 0.0, pair.now, len(pair.server.received)
    end = pair.now + 1
    while pair.now < end:
        feed(pair, 8_000_000, 0.005)
        if len(pair.server.received) > count:
            last, count = pair.now, len(pair.server.received)
        gap = max(gap, pair.now - last)
    assert gap < 0.25


def test_what_does_not_exceed_one_path_is_not_spread() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    before = pair.server.conn.path(1).rx_packets
    feed(pair, 1_000_000, 2)
    assert pair.server.conn.path(1).rx_packets - before < 5


def test_a_peer_without_it_gets_no_spread_flow() -> None:
    pair = Pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    pair.client.conn.set_spread(True)
    feed(pair, 10_000_000, 1)
    assert pair.server.engine.drops()[Drop.UNKNOWN_CONTEXT] > 0


def sequenced(numbers_sent: list[int]) -> tuple[list[int], list[int]]:
    """Spread datagrams with these sequence numbers, one a packet, straight into the server's engine."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    for n in numbers_sent:
        [packet] = packets(1, 100, first=n)
        pair.client.conn.send(datagram(n, packet))
        pair.run(0.0)
    pair.run(1.0)
    return numbers(pair), pair.server.engine.drops()


def datagram(sequence: int, packet: bytes, flow: int = 7) -> bytes:
    body = b"\x00\x02" + flow.to_bytes(2, "big") + sequence.to_bytes(4, "big") + packet
    return b"\x31" + (0x4000 | len(body)).to_bytes(2, "big") + body


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_number_once_and_none_is_kept_back(sent: list[int]) -> None:
    arrived, drops = sequenced(sent)
    assert sorted(arrived) == sorted(set(sent))
    assert drops[Drop.DUPLICATE] == len(sent) - len(set(sent))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)))
def test_any_order_within_patience_comes_out_sorted(sent: list[int]) -> None:
    pair = spread_pair([Link(delay=0.0)])
    for n in sent:
        pair.client.conn.send(datagram(n, packets(1, 100, first=n)[0]))
    pair.run(0.0)
    pair.run(1.0)
    arrived = numbers(pair)
    assert sorted(arrived) == list(range(12))


@pytest.mark.parametrize("jump", [4095, 4096, 9000, 70_000, 2**31 - 1])
def test_a_jump_of_numbers_costs_no_time_and_no_memory(jump: int) -> None:
    arrived, _ = sequenced([0, 1, jump, jump + 1, 2])
    assert arrived[:2] == [0, 1]
    assert set(arrived) >= {jump, jump + 1}


def test_what_one_connection_may_have_held_is_bounded() -> None:
    """Gaps in many flows at once: the pool of packets is there for every client."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    [packet] = packets(1, 32)
    send_gaps(pair, packet, range(1, 61))
    dropped = 60 * 100 - 4096
    assert pair.server.engine.drops()[Drop.NO_MEMORY] == dropped
    assert len(pair.server.received) == 60
    pair.run(1.0)  # the gaps were given up
    send_gaps(pair, packet, range(61, 64))
    assert pair.server.engine.drops()[Drop.NO_MEMORY] == dropped


def send_gaps(pair: Pair, packet: bytes, flows: range) -> None:
    """The first number of each flow on one path, a hundred behind a gap on the other."""
    for flow in flows:
        pair.client.conn.send(datagram(0, packet, flow), path_id=1)
        for first in range(2, 102, 20):
            frames = (datagram(number, packet, flow) for number in range(first, first + 20))
            pair.client.conn.send(b"".join(frames), path_id=0)
        pair.run(0.0)


def test_what_became_of_gaps_is_counted() -> None:
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    for sequence in (0, 2, 3, 1, 5, 5):  # 1 fills its gap; 4 comes when it is given up
        slow = sequence in (0, 1)
        pair.client.conn.send(datagram(sequence, packets(1, 100, first=sequence)[0]), path_id=int(slow))
        pair.run(0.003)
    now = pair.server.conn.order()
    assert (now.numbered, now.waited, now.waiting, now.duplicates, now.filled) == (6, 3, 1, 1, 1)
    assert 0.005 < now.longest < 0.008
    pair.run(1.0)
    pair.client.conn.send(datagram(4, packets(1, 100, first=4)[0]))
    pair.run(0.1)
    then = pair.server.conn.order()
    assert (then.waiting, then.late, then.filled, then.expired + then.lost) == (0, 1, 1, 1)
    assert sum(then.waits) == 2
    pair.client.conn.send(datagram(9000, packets(1, 100, first=9000)[0]))
    pair.run(1.0)
    assert pair.server.conn.order().overrun == 1
    assert numbers(pair) == [0, 1, 2, 3, 5, 4, 9000]


def test_packets_that_find_no_room_are_counted() -> None:
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    send_gaps(pair, packets(1, 32)[0], range(1, 61))
    found = pair.server.conn.order()
    assert (found.waiting, found.no_room) == (4096, 60 * 100 - 4096)
