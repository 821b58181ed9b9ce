"""Batches of packets, their limits, and what is not a packet."""

from __future__ import annotations

import contextlib

import pytest

from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.segment import segments
from tests.dataplane import oracle
from tests.dataplane.oracle import TCP, UDP

LARGE_LIMIT = 64 * 1024 * 1024 // (66 * 1024)


def test_a_batch_holds_64_packets() -> None:
    batch = PacketBatch()
    for _ in range(64):
        batch.append(oracle.ip(4, UDP, oracle.udp(b"x")))
    with pytest.raises(ValueError, match="64 packets"):
        batch.append(oracle.ip(4, UDP, oracle.udp(b"x")))
    batch.clear()
    assert len(batch) == 0


def test_large_packets_are_limited_and_come_back() -> None:
    packet = oracle.ip(4, TCP, oracle.tcp(bytes(5000)))
    batches = [PacketBatch() for _ in range(LARGE_LIMIT // 64 + 1)]
    with contextlib.suppress(MemoryError):
        for index in range(len(batches) * 64):
            batches[index // 64].append(packet, 1000)
    assert LARGE_LIMIT - 16 <= sum(map(len, batches)) <= LARGE_LIMIT  # other tests may hold some
    batches[-1].append(oracle.ip(4, UDP, oracle.udp(b"small packets are not limited")))
    for batch in batches:
        batch.clear()
    batches[0].append(packet, 1000)
    assert len(segments(batches[0])) == 5


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45" + bytes(18),
        b"\x50" + bytes(39),
        b"\x60" + bytes(38),
        oracle.ip(4, UDP, oracle.udp(b"cut off"))[:-1],
        oracle.ip(6, UDP, oracle.udp(b"cut off"))[:-1],
        b"\x4f" + oracle.ip(4, UDP, oracle.udp(b"x"))[1:],
        b"\x44" + oracle.ip(4, UDP, oracle.udp(b"x"))[1:],
        b"\x60\0\0\0\0\x10\x3c" + bytes(33) + b"\x11\x09\1\4" + bytes(12),  # options beyond the end
    ],
)
def test_what_is_no_whole_ip_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="not a whole IP packet"):
        PacketBatch().append(packet)


def test_bytes_behind_the_packet_are_cut_off() -> None:
    packet = oracle.ip(4, UDP, oracle.udp(b"hello"))
    batch = PacketBatch()
    batch.append(packet + b"padding")
    assert segments(batch) == [packet]


def test_a_super_packet_needs_tcp_or_udp() -> None:
    with pytest.raises(ValueError, match="no TCP or UDP"):
        PacketBatch().append(oracle.ip(4, 1, bytes(1000)), 100)


def test_larger_than_any_packet() -> None:
    with pytest.raises(ValueError, match="larger"):
        PacketBatch().append(bytes(70000))


def test_refs_give_back_what_was_appended() -> None:
    refs = PacketRefs()
    for index in range(1024):
        refs.append(b"%d" % index)
    with pytest.raises(ValueError, match="1024"):
        refs.append(b"")
    assert refs.packets() == [b"%d" % index for index in range(1024)]
    refs.clear()
    assert refs.packets() == []
