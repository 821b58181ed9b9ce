"""UDP flows with the stamps of the C mqvpn (`mqvpn-reorder: v1`), put back in order."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.wire.drop import Drop
from tests.dataplane.pair import SERVER_ADDRESS, Link, Pair, packets, udp_packet
from tests.dataplane.test_resequence import numbers

ALL = ((0, 0.03, 1024),)  # every UDP flow, as [Reorder] Enabled alone has it
RESET = 1
RULES = ((443, 0.05, 1024), (53, 0.0, 0), (1000, 0.05, 2048))  # 53: low_latency


def stamped_pair(links: list[Link], rules: tuple = ALL, scheduler: str = "wlb", seed: int = 1) -> Pair:
    pair = Pair(links, scheduler=scheduler, seed=seed)
    for end in (pair.client, pair.server):
        end.conn.set_reorder(rules)
    return pair


def stamp(number: int, flags: int = 0) -> bytes:
    return b"\x01" + bytes([flags]) + number.to_bytes(6, "big")


def arrive(pair: Pair, packet: bytes, number: int | None, flags: int = 0, path: int = 0) -> None:
    """One datagram of the client's reaches the server now; number None: without a stamp."""
    pair.client.conn.send(frame(packet, number, flags), path_id=path)
    pair.run(0.0)


def frame(packet: bytes, number: int | None, flags: int = 0) -> bytes:
    body = b"\x00\x00" + (b"" if number is None else stamp(number, flags)) + packet
    return b"\x31" + (0x4000 | len(body)).to_bytes(2, "big") + body


def numbered(number: int, port: int = 2000, size: int = 300) -> bytes:
    return packets(1, size, port, number)[0]


def still_pair(rules: tuple = ALL) -> Pair:
    return stamped_pair([Link(delay=0.0), Link(delay=0.0)], rules)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_every_number_once_and_none_is_kept_back(sent: list[int]) -> None:
    pair = still_pair()
    for number in sent:
        arrive(pair, numbered(number), number)
    pair.run(1.0)
    assert sorted(numbers(pair)) == sorted(set(sent))
    assert pair.server.engine.drops()[Drop.DUPLICATE] == len(sent) - len(set(sent))


@settings(max_examples=30)
@given(st.permutations(range(1, 14)))
def test_any_order_within_patience_comes_out_sorted(sent: list[int]) -> None:
    pair = stamped_pair([Link(delay=0.0)] * 2)
    for path in (0, 1):  # both are in use: nothing counts as lost before its time
        arrive(pair, numbered(0, 2001), path, path=path)
    arrive(pair, numbered(0), 0)
    for number in sent:
        arrive(pair, numbered(number), number)
    assert numbers(pair)[2:] == list(range(14))


@pytest.mark.parametrize(("most", "expected"), [(0.005, 0.005), (0.0, 0.0), (10.0, 0.010)])
def test_a_gap_is_waited_for_no_longer_than_its_rule_says(most: float, expected: float) -> None:
    """Nor longer than the paths' RTTs, here the same, make of use."""
    pair = still_pair(((0, most, 1024),))
    arrive(pair, numbered(0), 0, path=1)
    arrive(pair, numbered(1), 1)
    arrive(pair, numbered(3), 3)
    began = pair.now
    while len(pair.server.received) < 3:
        assert pair.step(began + 1.0)
    assert numbers(pair) == [0, 1, 3]
    assert pair.now - began == pytest.approx(expected, abs=0.001)
    arrive(pair, numbered(2), 2)  # late, but welcome
    assert numbers(pair) == [0, 1, 3, 2]


@pytest.mark.parametrize("capacity", [16, 1024, 1 << 40])
def test_a_flow_is_no_more_ahead_than_its_rule_says(capacity: int) -> None:
    pair = still_pair(((0, 10.0, min(capacity, 65535)),))
    arrive(pair, numbered(0), 0, path=1)
    for number in range(2, 40):
        arrive(pair, numbered(number), number)
    assert len(numbers(pair)) == (39 if capacity == 16 else 1)


def test_the_first_packet_sets_what_is_expected() -> None:
    pair = still_pair()
    arrive(pair, numbered(5), 1_000_005, RESET)
    arrive(pair, numbered(6), 1_000_006)
    arrive(pair, numbered(4), 1_000_004)
    assert numbers(pair) == [5, 6, 4]


def test_a_reset_of_a_flow_that_goes_on_changes_nothing() -> None:
    pair = still_pair()
    for number in (0, 1):
        arrive(pair, numbered(number), number, RESET, path=1)
    arrive(pair, numbered(3), 3, RESET)
    arrive(pair, numbered(2), 2, RESET)
    assert numbers(pair) == [0, 1, 2, 3]


@pytest.mark.parametrize("flags", [0, RESET])
@pytest.mark.parametrize("old", [3000, 2**48 - 100])
def test_a_flow_begins_anew_after_ten_seconds(flags: int, old: int) -> None:
    """The peer was started again, or forgot the flow."""
    pair = still_pair()
    arrive(pair, numbered(0), old, path=1)
    pair.run(10.5)
    arrive(pair, numbered(1), 0, flags, path=1)
    for number in (3, 2):
        arrive(pair, numbered(number), number - 1)
    assert numbers(pair) == [0, 1, 2, 3]


def test_a_flow_that_begins_anew_too_early_is_not_lost() -> None:
    pair = still_pair()
    arrive(pair, numbered(0), 100_000)
    for number in range(1, 6):
        arrive(pair, numbered(number), number, RESET)
    assert numbers(pair) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("jump", [1023, 4096, 70_000, 2**31, 2**48 - 2])
def test_a_jump_costs_no_time_and_no_memory(jump: int) -> None:
    pair = still_pair()
    for number in (0, 1, jump, jump + 1, 2):
        arrive(pair, numbered(number % 2**32), number)
    pair.run(1.0)
    assert sorted(numbers(pair)) == sorted(number % 2**32 for number in (0, 1, 2, jump, jump + 1))


@pytest.mark.parametrize("size", range(9))
def test_what_is_shorter_than_a_stamp_is_dropped(size: int) -> None:
    pair = still_pair()
    before = pair.server.engine.drops()[Drop.TOO_SHORT]
    body = b"\0\0" + (stamp(0) + b"\x45")[:size]
    pair.client.conn.send(b"\x31" + bytes([len(body)]) + body)
    pair.run(0.1)
    assert pair.server.engine.drops()[Drop.TOO_SHORT] == before + 1
    assert pair.server.received == []


@pytest.mark.parametrize("first", [0x00, 0x02, 0x10, 0x31])
def test_another_first_byte_is_no_stamp(first: int) -> None:
    pair = still_pair()
    body = b"\0\0" + bytes([first]) + stamp(0)[1:] + numbered(0)
    pair.client.conn.send(b"\x31" + (0x4000 | len(body)).to_bytes(2, "big") + body)
    pair.run(0.1)
    assert pair.server.engine.drops()[Drop.NOT_IP] == 1


def test_what_is_behind_a_stamp_is_checked_like_any_packet() -> None:
    pair = still_pair()
    arrive(pair, udp_packet("10.9.9.9", SERVER_ADDRESS, bytes(20)), 0)
    arrive(pair, numbered(0)[:-1], 1)
    drops = pair.server.engine.drops()
    assert (drops[Drop.SOURCE_NOT_ASSIGNED], drops[Drop.NOT_IP]) == (1, 1)


def test_a_stamp_that_was_not_negotiated_is_dropped() -> None:
    pair = Pair([Link(delay=0.0)])
    arrive(pair, numbered(0), 0)
    assert pair.server.engine.drops()[Drop.NOT_IP] == 1
    assert pair.server.received == []


def test_stamped_and_plain_packets_may_come_mixed() -> None:
    pair = still_pair()
    for number in (0, 1):
        arrive(pair, numbered(number), number, path=1)
    arrive(pair, numbered(9), None)
    assert numbers(pair) == [0, 1, 9]


def test_flows_left_alone_here_are_not_held_up_whatever_the_peer_does() -> None:
    pair = still_pair(RULES)
    for number in (0, 2, 1):
        arrive(pair, numbered(number, 53), number, path=number % 2)
    assert numbers(pair) == [0, 2, 1]


def test_flows_of_small_packets_wait_for_nothing() -> None:
    pair = still_pair()
    arrive(pair, numbered(0, 2001), 0, path=1)
    for number in range(70):
        arrive(pair, numbered(number, size=40), number, path=1)
    arrive(pair, numbered(71, size=40), 71)
    pair.run(0.0005)
    assert numbers(pair)[-1] == 71


def test_many_flows_take_turns_and_nothing_is_lost() -> None:
    """Far more than there are lanes for: some come as they come, each packet once."""
    pair = still_pair()
    rng = random.Random(7)
    sent = [(port, number) for port in range(2000, 2300) for number in range(6)]
    rng.shuffle(sent)
    for port, number in sent:
        arrive(pair, numbered(number, port), number, path=number % 2)
    pair.run(2.0)
    assert len(pair.server.received) == len(sent)
    assert len(set(pair.server.received)) == len(sent)
    arrive(pair, numbered(100, 5000), 0, path=1)  # and lanes are free again
    for number in (102, 101):
        arrive(pair, numbered(number, 5000), number - 100)
    assert numbers(pair)[-3:] == [100, 101, 102]


def test_a_busy_flow_keeps_its_lane_while_others_come_and_go() -> None:
    pair = still_pair()
    arrive(pair, numbered(0), 0, path=1)
    for number in range(1, 400, 2):
        arrive(pair, numbered(number + 1), number + 1)
        arrive(pair, numbered(7, 3000 + number), 0, path=1)
        arrive(pair, numbered(number), number)
    arrived = [int.from_bytes(packet[28:32], "big") for packet in pair.server.received if packet[22:24] == b"\x07\xd0"]
    assert arrived == list(range(401))


def test_what_one_connection_may_have_held_is_bounded() -> None:
    """Gaps in every lane at once: what finds no room passes out of order, and all is free again once the gaps are."""
    pair = still_pair()
    send_gaps(pair, range(2000, 2080))
    passed = len(pair.server.received)
    early = pair.server.conn.order().no_room
    assert early > 0
    assert 80 * 91 - passed == 4096
    pair.run(1.5)
    assert len(pair.server.received) == passed + 4096
    send_gaps(pair, range(2080, 2100))
    pair.run(1.5)
    assert len(pair.server.received) == 100 * 91
    assert pair.server.conn.order().no_room == early
    assert pair.server.engine.drops()[Drop.NO_MEMORY] == 0


def send_gaps(pair: Pair, ports: range) -> None:
    """The first number of each flow on one path, ninety behind a gap on the other."""
    for port in ports:
        arrive(pair, numbered(0, port, 8), 0, path=1)
        for first in range(2, 92, 15):
            frames = (frame(numbered(number, port, 8), number) for number in range(first, first + 15))
            pair.client.conn.send(b"".join(frames), path_id=0)
            pair.run(0.0)


@pytest.mark.parametrize("behind", [0.0, 0.010, 0.035])
def test_a_peer_that_deals_packets_out_to_paths_in_turn(behind: float) -> None:
    """As the C mqvpn does. Only the first one on a path, which did not count as in use, and the first that is waited
    for too long may come late: what is behind them has its place in time."""
    pair = stamped_pair([Link(delay=0.010), Link(delay=0.010 + behind)])
    for number in range(600):
        pair.client.conn.send(frame(numbered(number), number), path_id=number % 2)
        pair.run(0.001)
    pair.run(1.0)
    arrived = numbers(pair)
    assert sorted(arrived) == list(range(600))
    assert sum(b < a for a, b in pairwise(arrived)) <= 2
