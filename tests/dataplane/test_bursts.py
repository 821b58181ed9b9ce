"""What leaves together: paced bursts, whole ones out of a window that has little room, and acks of small packets.

Every burst costs a system call at both ends, and every ack a packet: these are the figures that speed depends on.
"""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest

from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, packets, udp_packet

MEGABIT = 125_000


def leave(pair: Pair) -> int:
    """Put on the links what the client sends now; bytes of it."""
    size = 0
    while pair.client.engine.transmit(pair.client.bursts, pair.now):
        for (socket, remote, local, data), ecn in zip(
            pair.client.bursts.datagrams(), pair.client.bursts.ecn(), strict=True
        ):
            size += len(data)
            pair.send(pair.client, socket, remote, local, data, ecn)
    return size


def loaded(rate: float) -> Pair:
    """A pair whose client has been sending as fast as a link of 10 ms one way takes, and has much more to send."""
    pair = Pair([Link(delay=0.01, rate=rate, queue=int(rate * 0.04))])
    for turn in range(100):
        pair.client.push(packets(30, 1300, first=30 * turn), pair.now)
        pair.run(0.01)
    pair.client.push(packets(60, 1300), pair.now)
    pair.carry(pair.client)
    return pair


def test_a_paced_path_sends_a_millisecond_at_once_and_then_waits() -> None:
    pair = loaded(50 * MEGABIT)
    leaving: list[tuple[float, int]] = []
    for _ in range(400):
        size = leave(pair)
        leaving += [(pair.now, size)] if size > 1000 else []
        pair.carry(pair.server)
        if not pair.client.conn.queued()[0]:
            break
        pair.jump(max(pair.next_time() or 0.0, pair.now + 1e-6))
    assert len(leaving) > 2
    rate = pair.client.conn.path(0).pacing_rate
    for (before, size), (after, _) in pairwise(leaving[1:]):
        assert after - before > 0.0005  # a packet alone would leave after 0.0002
        assert size <= 2 * max(rate * 0.001, 2800) + 1400


def test_a_fast_path_sends_more_than_one_gso_send_at_once() -> None:
    """Waits of a tenth of a millisecond become longer ones, and the rate falls by a tenth."""
    pair = Pair([Link(delay=0.0002)])
    while pair.client.conn.path(0).pacing_rate < 4000 * MEGABIT:
        for _ in range(4):
            pair.client.push(packets(60, 1300), pair.now)
        pair.run(0.0004)
    pair.run(0.01)
    for _ in range(4):
        pair.client.push(packets(60, 1300), pair.now)
    assert leave(pair) > 0.00025 * 4000 * MEGABIT


def test_the_pacing_rate_is_kept() -> None:
    pair = loaded(50 * MEGABIT)
    begin, sent = pair.now, pair.client.conn.path(0).tx_bytes
    rate = pair.client.conn.path(0).pacing_rate
    while pair.now < begin + 0.02 and pair.step(begin + 0.02):
        pass
    assert pair.client.conn.path(0).tx_bytes - sent <= 0.02 * rate * 1.3 + 2 * rate * 0.001


def test_a_window_with_little_room_waits_for_the_acks_of_a_whole_burst() -> None:
    pair = Pair([Link(delay=0.01)])
    left = 0
    for turn in range(40):
        pair.client.push(packets(60, 1300, first=60 * turn), pair.now)
        until = pair.now + 0.01
        while pair.now < until:
            stats = pair.client.conn.path(0)
            if leave(pair) > 1000:
                left += 1
                quantum = max(stats.pacing_rate * 0.001, 2800)
                assert stats.cwnd - stats.in_flight >= min(quantum, stats.cwnd / 8) - 1400
            pair.carry(pair.server)
            pair.jump(min(until, max(pair.next_time() or until, pair.now + 1e-6)))
    assert left > 10


def turns(rate: float, size: int) -> list[int]:
    """Bytes that two flows, which both have super packets of `size` bytes waiting, send in turn over such a link."""
    pair = Pair([Link(delay=0.001, rate=rate, queue=2_000_000)])

    def push(port: int, size: int) -> None:
        supers = [udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(size), (port, 9))]
        pair.client.push(supers, pair.now, 1300)

    for _ in range(100 if rate > 1000 * MEGABIT else 2):  # until the rate is known
        push(3, 60_000)
        push(3, 60_000)
        pair.run(0.0005)
    pair.run(1)
    before = len(pair.server.received)
    for port in (1, 2) * 4:
        push(port, size)
    pair.run(1)
    arrived = [(int.from_bytes(packet[20:22], "big"), len(packet)) for packet in pair.server.received[before:]]
    return [sum(length for _, length in turn) for _, turn in itertools.groupby(arrived, lambda one: one[0])]


def test_on_a_slow_path_flows_take_short_turns() -> None:
    found = turns(50 * MEGABIT, 60_000)
    assert sum(found) > 8 * 60_000
    assert max(found) < 36_000  # a turn, and what was left of a super packet


def test_on_a_fast_path_a_super_packet_is_not_cut() -> None:
    assert max(turns(4000 * MEGABIT, 30_000)) > 60_000
    assert min(turns(4000 * MEGABIT, 60_000)) > 60_000


def acks(pair: Pair) -> int:
    """Packets that the server sends, which are acks."""
    before = pair.server.conn.path(0).tx_packets
    pair.run(0.1)
    return pair.server.conn.path(0).tx_packets - before


@pytest.mark.parametrize(("size", "most"), [(60, 5), (1300, 20)])
def test_many_small_packets_share_an_ack(size: int, most: int) -> None:
    pair = Pair([Link(delay=0.005)])
    for n in range(40):
        pair.client.push(packets(1, size, first=n), pair.now)
        pair.run(0.0001)
    assert 1 <= acks(pair) <= most
    assert pair.client.conn.path(0).in_flight == 0


def test_two_full_packets_are_acknowledged_at_once() -> None:
    pair = Pair([Link(delay=0.005)])
    pair.client.push(packets(2, 1300), pair.now)
    sent = pair.client.conn.path(0).acked
    pair.run(0.0101)
    assert pair.client.conn.path(0).acked == sent + 2


def test_the_second_small_packet_makes_an_ack_due_soon() -> None:
    pair = Pair([Link(delay=0.005)])
    pair.client.push(packets(2, 60), pair.now)
    sent = pair.client.conn.path(0).acked
    pair.run(0.0165)
    assert pair.client.conn.path(0).acked == sent + 2


def test_an_ack_rides_with_a_small_packet() -> None:
    """An inner TCP flow's ACK and the outer one: one packet, not two."""
    pair = Pair([Link(delay=0.005)])
    answer = [udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, bytes(24))]
    acked, sent = pair.client.conn.path(0).acked, pair.server.conn.path(0).tx_packets
    pair.client.push(packets(2, 1300), pair.now)
    pair.carry(pair.client)
    pair.jump(pair.now + 0.005)
    pair.server.push(answer, pair.now)
    pair.carry(pair.server)
    assert pair.server.conn.path(0).tx_packets == sent + 1
    pair.run(0.006)
    assert pair.client.received[-1:] == answer
    assert pair.client.conn.path(0).acked == acked + 2


def test_an_ack_rides_behind_the_end_of_a_super_packet() -> None:
    """A bulk sender's acks of the other side's small packets cost no packet, and no wake-up."""
    pair = Pair([Link(delay=0.005)])
    pair.client.push(packets(2, 60), pair.now)
    pair.carry(pair.client)
    pair.jump(pair.now + 0.005)
    sent, acked = pair.server.conn.path(0).tx_packets, pair.client.conn.path(0).acked
    pair.server.push([udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, bytes(size)) for size in (1300, 1300, 900)], pair.now)
    pair.carry(pair.server)
    assert pair.server.conn.path(0).tx_packets == sent + 3
    pair.run(0.006)
    assert pair.client.conn.path(0).acked == acked + 2
    assert pair.server.conn.path(0).tx_packets == sent + 3


def test_an_ack_does_not_wait_for_a_small_packet_that_cannot_leave() -> None:
    pair = Pair([Link(delay=0.005), Link(delay=0.001)], scheduler="minrtt")
    acked = pair.client.conn.path(0).acked
    pair.client.conn.set_path(1, usable=False)
    pair.client.push(packets(2, 1300), pair.now)
    pair.carry(pair.client)
    pair.jump(pair.now + 0.005)
    pair.server.push([udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, bytes(24))], pair.now)  # leaves on the other path
    pair.run(0.006)
    assert pair.client.conn.path(0).acked == acked + 2


def test_no_ack_rides_with_a_full_packet() -> None:
    pair = Pair([Link(delay=0.005)])
    for _ in range(2):
        pair.client.push(packets(2, 1300), pair.now)
        pair.server.push([udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, bytes(1340 - 28))], pair.now)
        pair.run(0.05)
    assert len(pair.client.received[-1]) == 1340
    assert pair.client.conn.path(0).in_flight == 0
