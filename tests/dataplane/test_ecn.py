"""ECN of a path: marks sent, counted, reported, validated and answered (RFC 9000, section 13.4 and appendix A.4)."""

import socket

import pytest

from mqvpn.dataplane import engine as e
from mqvpn.dataplane.udp import Bursts, Datagrams, Sockets
from tests.dataplane.pair import Link, Pair, feed, goodput
from tests.dataplane.scripted import PING, Scripted, read_path_ack

ECT_1, ECT_0, CE = 1, 2, 3


def sent(end: Scripted, count: int) -> list[int]:
    """Send so many packets on path 0; their ECN fields."""
    for _ in range(count):
        end.conn.send(PING, path_id=0)
    fields: list[int] = []
    while end.engine.transmit(end.bursts, end.now):
        fields += end.bursts.ecn()
    return fields


# Two engines


def test_both_ends_mark_once_the_path_is_validated() -> None:
    pair = Pair([Link(), Link()])
    goodput(pair, 0.5, 1_000_000, flows=8)
    for path in (0, 1):
        assert pair.client.conn.path(path).ecn
    assert pair.client.conn.path(0).congestion_marks == 0
    assert pair.client.conn.path(0).lost == 0


@pytest.mark.parametrize("remark", [lambda _: 0, lambda mark: ECT_1 if mark == ECT_0 else mark])
def test_a_path_that_spoils_marks_is_used_without(remark: object) -> None:
    pair = Pair([Link(), Link(remark=remark)])  # type: ignore[arg-type]
    goodput(pair, 0.5, 1_000_000, flows=8)
    assert pair.client.conn.path(0).ecn
    assert not pair.client.conn.path(1).ecn
    seen: list[int] = []
    pair.links[1].remark = lambda mark: seen.append(mark) or mark  # type: ignore[func-returns-value]
    goodput(pair, 0.5, 1_000_000, flows=8)
    assert set(seen) == {0}


def test_a_marked_packet_makes_the_window_shrink_without_loss() -> None:
    pair = Pair([Link(delay=0.02)])
    goodput(pair, 1, 2_000_000)
    window = pair.client.conn.path(0).cwnd
    marked = iter([CE])
    pair.links[0].remark = lambda mark: next(marked, mark) if mark == ECT_0 else mark
    feed(pair, 1_000_000, 0.2)
    stats = pair.client.conn.path(0)
    assert stats.congestion_marks + pair.server.conn.path(0).congestion_marks == 1
    assert stats.cwnd < window or pair.server.conn.path(0).congestion_marks == 1
    assert (stats.lost, stats.ecn) == (0, True)


def test_a_congested_link_that_marks_loses_nothing() -> None:
    link = Link(delay=0.02, rate=2_000_000, queue=400_000)
    pair = Pair([link])
    link.remark = lambda mark: CE if mark and link.free_at[False] - pair.now > 0.030 else mark
    assert goodput(pair, 5, 4_000_000) > 0.8 * 2_000_000
    stats = pair.client.conn.path(0)
    assert stats.congestion_marks > 10
    assert stats.lost == 0
    assert stats.srtt < 0.040 + 0.100


# The test of a path (appendix A.4)


def test_ten_packets_are_the_test_and_a_fitting_count_passes_it() -> None:
    end = Scripted()
    assert sent(end, 25) == [ECT_0] * 10 + [0] * 15
    end.now += 0.04
    end.ack(range(5), ecn=(5, 0, 0))
    assert end.conn.path(0).ecn
    assert sent(end, 20) == [ECT_0] * 20


@pytest.mark.parametrize(
    "counts",
    [
        None,  # marked packets acknowledged, no counts
        (4, 0, 0),  # one mark was lost on the way
        (4, 1, 0),  # or changed
        (11, 0, 0),  # more than were sent
        (9, 0, 2),
    ],
)
def test_counts_that_do_not_fit_end_it(counts: tuple[int, int, int] | None) -> None:
    end = Scripted()
    sent(end, 10)
    end.now += 0.04
    end.ack(range(5), ecn=counts)
    assert not end.conn.path(0).ecn
    assert sent(end, 20) == [0] * 20
    end.ack(range(10), ecn=(10, 0, 0))
    assert not end.conn.path(0).ecn
    assert e.ERROR not in end.kinds()


def test_a_test_ends_after_three_ptos() -> None:
    end = Scripted()
    assert sent(end, 3) == [ECT_0] * 3
    end.now += 3 * end.conn.path(0).pto + 0.001
    assert sent(end, 3) == [0] * 3


def test_acks_out_of_order_do_not_spoil_it() -> None:
    end = Scripted()
    sent(end, 10)
    end.now += 0.04
    end.ack(range(8), ecn=(8, 0, 0))
    end.ack(range(5), ecn=(5, 0, 0))
    end.ack(range(6))
    assert end.conn.path(0).ecn


def test_packets_of_before_and_after_the_test_are_told_apart() -> None:
    end = Scripted()
    sent(end, 20)
    end.now += 0.04
    end.ack(range(5), ecn=(5, 0, 0))
    sent(end, 10)
    end.now += 0.04
    end.ack(range(5, 25), ecn=(15, 0, 0))  # five of the test, ten without, five that are marked again
    assert end.conn.path(0).ecn
    end.ack(range(5, 30), ecn=(16, 0, 0))
    assert not end.conn.path(0).ecn


def test_marks_are_congestion_once_a_window() -> None:
    end = Scripted()
    sent(end, 20)
    end.now += 0.04
    window = end.conn.path(0).cwnd
    end.ack(range(3), ecn=(2, 0, 1))
    shrunk = end.conn.path(0).cwnd
    assert shrunk < window
    end.ack(range(6), ecn=(4, 0, 2))
    assert end.conn.path(0).cwnd == shrunk
    assert end.conn.path(0).congestion_marks == 2


def test_a_new_address_is_tested_anew() -> None:
    end = Scripted()
    sent(end, 10)
    end.now += 0.04
    end.ack(range(10))
    assert sent(end, 2) == [0, 0]
    end.conn.set_address(0, 0, ("198.51.100.1", 443), None)
    end.conn.restart_path(0)
    assert sent(end, 12) == [ECT_0] * 10 + [0] * 2


def test_a_path_that_does_not_answer_is_probed_without_marks() -> None:
    end = Scripted()
    sent(end, 10)
    end.now += 0.04
    end.ack(range(10), ecn=(10, 0, 0))
    assert sent(end, 1) == [ECT_0]
    while not end.conn.path(0).suspect:
        end.transmit()
        end.timeout()
    assert sent(end, 1)[-1] == 0


# Counting and telling


def test_marks_that_came_are_told_by_path() -> None:
    end = Scripted(2)
    for path, fields in enumerate(([ECT_0, ECT_0, CE, 0], [ECT_1])):
        for field in fields:
            hear_marked(end, path, field)
    told = {path: counts for path, _, counts in (read_path_ack(payload) for _, _, payload in end.transmit())}
    assert told == {0: (2, 0, 1), 1: (0, 1, 0)}


def test_a_path_without_marks_is_acknowledged_without_counts() -> None:
    end = Scripted()
    hear_marked(end, 0, 0)
    [(_, _, payload)] = end.transmit()
    assert payload[0] == 0x3E


def test_a_duplicate_is_counted_once() -> None:
    end = Scripted()
    hear_marked(end, 0, ECT_0)
    end.peer_number[0] -= 1
    hear_marked(end, 0, ECT_0)
    [(_, _, payload)] = end.transmit()
    assert read_path_ack(payload)[2] == (1, 0, 0)


def hear_marked(end: Scripted, path: int, field: int) -> None:
    end.datagrams.clear()
    end.datagrams.append(path, *end.next_packet(PING, path), ecn=field)
    end.engine.receive(end.datagrams, end.refs, end.now)


# The kernel


@pytest.mark.parametrize(
    ("family", "host"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "127.0.0.1"), (socket.AF_INET6, "::1")],
)
def test_the_field_travels_through_sockets(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as near, socket.socket(family, socket.SOCK_DGRAM) as far:
        ports, sockets = [], Sockets()
        for number, udp in enumerate((near, far)):
            udp.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            sockets.add(number, udp.fileno(), family)
            ports.append(udp.getsockname()[1])
        end = Scripted()
        end.conn.set_address(0, 0, (host, ports[1]), (host, ports[0]))
        end.conn.restart_path(0)
        end.conn.send(PING, path_id=0)
        assert end.engine.transmit(end.bursts, end.now) == 1
        assert sockets.send(end.bursts) == 1
        batch = Datagrams()
        assert sockets.receive(1, batch) == 1
        assert batch.ecn() == [ECT_0]
        plain = Bursts()
        plain.append(0, (host, ports[1]), (host, ports[0]), b"x")
        sockets.send(plain)
        assert sockets.receive(1, batch) == 1
        assert batch.ecn() == [0]
