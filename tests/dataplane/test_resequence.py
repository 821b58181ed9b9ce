"""Flows that use several paths at once arrive in order, each packet once, whatever the paths do."""

from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.dataplane.packet import PacketBatch
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
    feed(pair, 10_000_000, 1)
    assert pair.server.engine.drops()[Drop.UNKNOWN_CONTEXT] == 0
    assert pair.server.conn.order().numbered == 0


def test_spread_packets_that_were_not_negotiated_are_dropped() -> None:
    pair = Pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    pair.client.conn.set_spread(True)
    feed(pair, 10_000_000, 1)
    assert pair.server.engine.drops()[Drop.UNKNOWN_CONTEXT] > 0


def test_jumbo_frames_of_one_flow_use_the_sum_of_both_paths() -> None:
    pair = spread_pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    for end in (pair.client, pair.server):
        for path in (0, 1):
            end.conn.set_path(path, mtu=8972)
    feed(pair, 10_000_000, 2, size=8000)
    before = len(pair.server.received)
    feed(pair, 10_000_000, 4, size=8000)
    assert sum(map(len, pair.server.received[before:])) / 4 > 0.9 * 8_750_000
    arrived = numbers(pair)
    assert sum(b < a for a, b in pairwise(arrived)) < len(arrived) * 0.002
    assert (pair.server.engine.drops()[Drop.NO_MEMORY], pair.server.conn.order().no_room) == (0, 0)


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


def arrive(pair: Pair, sequence: int, flow: int = 7, path: int = 0, first: int = 0) -> None:
    """One datagram of the flow's reaches the server now; `first`: its packet's number, less that in the sequence."""
    pair.client.conn.send(datagram(sequence, packets(1, 100, first=first + sequence)[0], flow), path_id=path)
    pair.run(0.0)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_number_once_and_none_is_kept_back(sent: list[int]) -> None:
    arrived, drops = sequenced(sent)
    assert sorted(arrived) == sorted(set(sent))
    assert drops[Drop.DUPLICATE] == len(sent) - len(set(sent))


@settings(max_examples=30)
@given(st.permutations(range(12)))
def test_any_order_within_patience_comes_out_sorted(sent: list[int]) -> None:
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    for path in (0, 1):  # both are in use: nothing counts as lost before its time
        pair.client.conn.send(datagram(path, packets(1, 100)[0], 0), path_id=path)
    pair.run(0.0)
    for n in sent:
        arrive(pair, n)
    assert numbers(pair)[2:] == list(range(12))


@pytest.mark.parametrize("jump", [4095, 4096, 9000, 70_000, 2**31 - 1])
def test_a_jump_of_numbers_costs_no_time_and_no_memory(jump: int) -> None:
    arrived, _ = sequenced([0, 1, jump, jump + 1, 2])
    assert arrived[:2] == [0, 1]
    assert set(arrived) >= {jump, jump + 1}


def held_up(pair: Pair, count: int) -> None:
    """A flow of which the first packet came, and so many behind a gap."""
    arrive(pair, 0, path=1)
    send_run(pair, range(2, 2 + count))


def send_run(pair: Pair, numbers_sent: range, flow: int = 7) -> None:
    for first in range(numbers_sent.start, numbers_sent.stop, 8):
        several = range(first, min(first + 8, numbers_sent.stop))
        frames = (datagram(number, packets(1, 100, first=number)[0], flow) for number in several)
        pair.client.conn.send(b"".join(frames))
    pair.run(0.0)


def test_a_jump_of_numbers_drops_nothing_that_waited() -> None:
    """More than what is written to the TUN at once: the rest follows, and what came behind the jump has passed."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    held_up(pair, 3000)
    assert pair.server.conn.order().waiting == 3000
    send_run(pair, range(9000, 9100))
    assert pair.server.engine.drops()[Drop.QUEUE_FULL] == 0
    pair.run(0.001)
    assert sorted(numbers(pair)) == [0, *range(2, 3002), *range(9000, 9100)]
    assert [number for number in numbers(pair) if number < 9000] == [0, *range(2, 3002)]
    pair.run(1.0)
    send_run(pair, range(9100, 9200))
    assert numbers(pair)[-100:] == list(range(9100, 9200))


def test_packets_that_waited_leave_room_for_those_that_come_with_them() -> None:
    """All that one turn can read, of other flows, is delivered beside them."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    held_up(pair, 3000)
    pair.client.conn.send(datagram(1, packets(1, 100, first=1)[0]))
    for first in range(0, 512, 8):
        others = [packets(1, 100, first=5000 + number)[0] for number in range(first, first + 8)]
        pair.client.conn.send(b"".join(datagram(first + n, packet, 0) for n, packet in enumerate(others)))
    receive_at_once(pair)
    pair.run(0.1)
    assert pair.server.engine.drops()[Drop.QUEUE_FULL] == 0
    assert [number for number in numbers(pair) if number < 5000] == list(range(3002))
    assert [number for number in numbers(pair) if number >= 5000] == list(range(5000, 5512))


def receive_at_once(pair: Pair) -> None:
    """All that the client has to send now reaches the server in one batch."""
    sent: list[bytes] = []
    while pair.client.engine.transmit(pair.client.bursts, pair.now):
        sent += [data for _, _, _, data in pair.client.bursts.datagrams()]
        [(socket, remote, local, _), *_] = pair.client.bursts.datagrams()
    server = pair.server
    server.datagrams.clear()
    for size, equal in groupby(sent, len):
        together = list(equal)
        for at in range(0, len(together), 40):
            server.datagrams.append(socket, local, remote, b"".join(together[at : at + 40]), size)
    server.refs.clear()
    server.engine.receive(server.datagrams, server.refs, pair.now)
    server.received += server.refs.packets()


@pytest.mark.parametrize(("size", "held"), [(32, 4096), (2100, 3942), (9000, 929), (16_000, 523)])
def test_what_one_connection_may_have_held_is_bounded(size: int, held: int) -> None:
    """Eight megabytes, in gaps of many flows at once: what finds no room passes out of order."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    for end in (pair.client, pair.server):
        for path in (0, 1):
            end.conn.set_path(path, mtu=62_000)
    [packet] = packets(1, size)
    send_gaps(pair, packet, range(1, 61))
    assert pair.server.conn.order().waiting == held
    assert pair.server.conn.order().no_room == 60 * 100 - held
    assert len(pair.server.received) == 60 + 60 * 100 - held
    pair.run(1.0)  # the gaps were given up
    send_gaps(pair, packet, range(61, 64))
    pair.run(1.0)
    assert len(pair.server.received) == 63 * 101
    assert pair.server.conn.order().no_room == 60 * 100 - held
    assert pair.server.engine.drops()[Drop.NO_MEMORY] == 0


def test_what_all_connections_have_held_of_jumbo_frames_is_bounded() -> None:
    """Sixty-four megabytes; what a connection held is free again when it ends."""
    [packet] = packets(1, 9000)
    for _ in range(2):
        pairs = [spread_pair([Link(delay=0.0), Link(delay=0.0)]) for _ in range(9)]
        for pair in pairs:
            send_gaps(pair, packet, range(1, 11))
        held = [pair.server.conn.order().waiting for pair in pairs]
        assert held[:8] == [929] * 8
        assert sum(held) == 7433
        for pair in pairs:
            pair.server.conn.close()


def test_packets_that_wait_leave_room_for_all_others() -> None:
    """However many peers leave gaps, the one that comes last has a share of the buffers, too, and others are left."""
    [packet] = packets(1, 32)
    pairs = [spread_pair([Link(delay=0.0), Link(delay=0.0)]) for _ in range(12)]
    try:
        for pair in pairs:
            send_gaps(pair, packet, range(1, 61))
        waiting = [pair.server.conn.order().waiting for pair in pairs]
        assert waiting[0] == 4096
        assert 16 <= waiting[-1] < 4096
        assert len(pairs[-1].server.received) == 60 + 60 * 100 - waiting[-1]
        PacketBatch().append(packet)
    finally:
        for pair in pairs:
            pair.server.conn.close()


def test_what_passed_for_want_of_room_is_not_waited_for() -> None:
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    send_gaps(pair, packets(1, 32)[0], range(1, 41))
    arrive(pair, 0, 41, path=1)
    for sequence in range(2, 100):
        arrive(pair, sequence, 41)
    assert numbers(pair)[-3:] == [0, 98, 99]  # room for 96 packets was left
    for sequence in (1, 100, 101):
        arrive(pair, sequence, 41, path=1)
    assert numbers(pair)[-101:] == [98, 99, *range(1, 98), 100, 101]
    arrive(pair, 98, 41)
    assert pair.server.engine.drops()[Drop.DUPLICATE] == 1


def send_gaps(pair: Pair, packet: bytes, flows: range) -> None:
    """The first number of each flow on one path, a hundred behind a gap on the other."""
    together = max(1, min(20, 60_000 // len(packet)))
    for flow in flows:
        pair.client.conn.send(datagram(0, packet, flow), path_id=1)
        for first in range(2, 102, together):
            frames = (datagram(number, packet, flow) for number in range(first, min(first + together, 102)))
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


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("flow", [7 + 64, 7 + 64 * 600])
def test_a_late_packet_of_the_lanes_former_flow_disturbs_nothing(flow: int, earlier: bool) -> None:
    """It passes, even if its number is the greater one: many flows began while that one went on."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    if earlier:
        arrive(pair, 0)
        pair.run(9.5)
        arrive(pair, 1)
        pair.run(1.1)
    elif flow > 2**15:
        flow -= 2**15
    for sequence in (0, 1):
        arrive(pair, sequence, flow, path=1, first=1000)
    arrive(pair, 3, flow, first=1000)
    for sequence in (5000, 5001):
        arrive(pair, sequence)
    assert pair.server.conn.order().late == 2
    for sequence in (4, 2, 5):
        arrive(pair, sequence, flow, path=sequence % 2, first=1000)
    assert numbers(pair)[2 * earlier :] == [1000, 1001, 5000, 5001, 1002, 1003, 1004, 1005]
    assert pair.server.conn.order().discarded == 0


def test_a_lane_is_the_former_flows_for_seconds_only() -> None:
    """Numbers of flows come again."""
    pair = spread_pair([Link(delay=0.0), Link(delay=0.0)])
    for flow in (7, 71, 7):
        for sequence in (0, 1):
            arrive(pair, sequence, flow, path=1)
        for sequence in (3, 2):
            arrive(pair, sequence, flow)
        pair.run(5.5)
    assert numbers(pair) == [0, 1, 2, 3] * 3
