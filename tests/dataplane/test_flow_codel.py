"""What CoDel tells the inner senders: ECN marks to those that know them, drops to the others (RFC 3168, section 5)."""

from __future__ import annotations

import pytest

from mqvpn.wire.drop import Drop
from tests.dataplane import oracle
from tests.dataplane.pair import Link, Pair

NOT_ECT, ECT_1, ECT_0, CE = range(4)
SIZE = 1200  # bytes of UDP payload
RATE = 1_000_000  # bytes per second


def ecn_of(packet: bytes) -> int:
    return packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3


def with_ecn(packet: bytes, ecn: int) -> bytes:
    """The packet with that field, and its checksums set."""
    changed = bytearray(packet)
    at, shift = (1, 0) if packet[0] >> 4 == 4 else (1, 4)
    changed[at] = changed[at] & ~(3 << shift) | ecn << shift
    return oracle.finished(changed)


def overloaded(version: int, ecn: int) -> tuple[Pair, list[bytes], list[bytes]]:
    """A link that is offered nearly twice what it carries for two seconds: what was sent, and what arrived."""
    pair = Pair([Link(delay=0.01, rate=RATE, queue=60_000)])
    for end in (pair.client, pair.server):
        end.conn.allow([], [])
    sent = []
    for number in range(2000):
        payload = number.to_bytes(4, "big") + bytes(SIZE - 4)
        sent.append(with_ecn(oracle.ip(version, oracle.UDP, oracle.udp(payload)), ecn))
        pair.client.push(sent[-1:], pair.now)
        pair.run(0.001)
    pair.run(3.0)
    return pair, sent, pair.server.received


@pytest.mark.parametrize("ecn", [ECT_0, ECT_1])
@pytest.mark.parametrize("version", [4, 6])
def test_packets_that_waited_too_long_are_marked(version: int, ecn: int) -> None:
    pair, sent, received = overloaded(version, ecn)
    marked = [packet for packet in received if ecn_of(packet) == CE]
    assert len(marked) > 10
    assert pair.client.engine.drops()[Drop.QUEUE_DELAY] == 0
    assert set(received) - set(marked) <= set(sent)
    assert {with_ecn(packet, ecn) for packet in marked} <= set(sent)
    assert all(with_ecn(packet, CE) == packet for packet in marked)  # the header's checksum is right


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_senders_without_ecn_are_dropped_and_not_marked(version: int) -> None:
    pair, sent, received = overloaded(version, NOT_ECT)
    assert pair.client.engine.drops()[Drop.QUEUE_DELAY] > 10
    assert set(received) <= set(sent)
