"""What a busy time took of memory is given back when it is over."""

from __future__ import annotations

import ctypes
import gc

import pytest

from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, feed, packets, udp_packet
from tests.dataplane.scripted import Scripted


class Mallinfo(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def allocated() -> int:
    """Bytes that malloc() has given out."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo
    gc.collect()
    now = mallinfo2()
    return int(now.uordblks + now.hblkhd)


def two_ends(extension: str | None) -> Pair:
    pair = Pair([Link(delay=0.1, rate=20_000_000), Link(delay=0.1, rate=20_000_000)])
    for end in (pair.client, pair.server):
        end.conn.set_spread(extension == "spread")
        end.conn.set_reinjection(extension == "spread")
        end.conn.set_reorder(((0, 0.03, 1024),) if extension == "stamps" else ())
    return pair


def work(pair: Pair) -> None:
    """Thousands of flows each way, and one that has many packets in flight on both paths."""
    for port in range(5000):
        there = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(20), (port, 9))
        pair.client.push([there], pair.now)
        back = udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, bytes(20), (9, port))
        pair.server.push([back], pair.now)
        pair.run(0.0005)
    feed(pair, 60_000_000, 2)
    forget(pair)


def forget(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        end.received.clear()
        end.events.clear()
        end.refs.clear()
        end.datagrams.clear()


@pytest.mark.parametrize("extension", [None, "spread", "stamps"])
@pytest.mark.parametrize("packets_left", [0, 200])
def test_a_connection_with_little_to_do_is_small_again(extension: str | None, packets_left: int) -> None:
    work(two_ends(extension))  # the pools keep what they got then, and find it again
    pair = two_ends(extension)
    before = allocated()
    work(pair)
    assert allocated() - before > 10_000_000
    for _ in range(packets_left):
        pair.client.push(packets(1), pair.now)
        pair.run(1.0)
    pair.run(200.0 - packets_left)
    forget(pair)
    assert allocated() - before < (100_000 if packets_left else 40_000)
    assert packets_left or pair.next_time() is None


def test_a_ring_that_shrinks_keeps_what_is_in_flight() -> None:
    one = Scripted()
    one.settle(0.05)
    one.ack(one.push_packets(1))
    one.ack(one.ping(count=1000))
    one.now += 10.0
    acked = one.conn.path(0).acked
    flying = one.ping(count=100)
    before = allocated()
    one.timeout(one.now)
    assert allocated() < before - 20_000
    one.now += 0.05
    one.ack(flying[::2])
    assert one.conn.path(0).acked == acked + 50
    one.ack(flying)
    path = one.conn.path(0)
    assert (path.in_flight, path.acked + path.spurious, path.lost) == (0, acked + 100, path.spurious)
