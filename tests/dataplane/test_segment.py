"""Super packets cut into segments, against the plain twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.dataplane.packet import PacketBatch
from mqvpn.dataplane.segment import segments
from tests.dataplane import oracle
from tests.dataplane.oracle import ACK, CWR, ECE, FIN, PSH, TCP, UDP


def cut(packet: bytes, gso_size: int) -> list[bytes]:
    batch = PacketBatch()
    batch.append(packet, gso_size)
    return segments(batch)


@st.composite
def super_packets(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([4, 6]))
    payload = draw(st.binary(min_size=1, max_size=40)) * draw(st.integers(1, 200))
    words = st.integers(0, 3).map(lambda count: bytes([1] * 4 * count))
    if draw(st.booleans()):
        seq = draw(st.sampled_from([0, 1, 2**31, 2**32 - 100]))
        flags = ACK | draw(st.sampled_from([0, PSH, FIN | PSH, CWR, ECE | CWR | PSH]))
        rest, protocol = oracle.tcp(payload, seq=seq, flags=flags, options=draw(words)), TCP
    else:
        rest, protocol = oracle.udp(payload), UDP
    extension = bytes([protocol, 0, 1, 4, 0, 0, 0, 0])  # destination options: PadN
    options = draw(words) if version == 4 else draw(st.sampled_from([b"", extension]))
    ident = draw(st.sampled_from([0, 1, 0xFFFE]))
    return oracle.ip(version, protocol, rest, ident=ident, tos=draw(st.integers(0, 3)), options=options)


@given(super_packets(), st.integers(1, 3000))
def test_segments_equal_the_twins(packet: bytes, gso_size: int) -> None:
    assert cut(packet, gso_size) == oracle.split(packet, gso_size)


@pytest.mark.parametrize("version", [4, 6])
def test_64_kilobytes(version: int) -> None:
    packet = oracle.ip(version, TCP, oracle.tcp(bytes(range(256)) * 254, flags=ACK | PSH))
    found = cut(packet, 1360)
    assert len(found) == 48
    assert found == oracle.split(packet, 1360)


def test_an_ordinary_packet_is_copied_as_it_is() -> None:
    packet = oracle.ip(4, TCP, oracle.tcp(b"hello"))[:-1] + b"!"  # the checksum is wrong now, and stays so
    assert cut(packet, 0) == [packet]


def test_packets_of_a_batch_follow_each_other() -> None:
    batch = PacketBatch()
    long, short = oracle.ip(6, UDP, oracle.udp(bytes(2500))), oracle.ip(4, 1, bytes(20) + bytes(8))
    batch.append(long, 1000)
    batch.append(short)
    assert segments(batch) == [*oracle.split(long, 1000), short]
    assert len(batch) == 0


def test_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    """RFC 768: an all zero checksum means that there is none."""
    checksum = oracle.ip(4, UDP, oracle.udp(bytes(4)))[26:28]  # as payload it makes the whole sum ffff
    packet = oracle.ip(4, UDP, oracle.udp(checksum + bytes(4)))
    segment = cut(packet, 4)[0]
    assert segment == oracle.split(packet, 4)[0]
    assert segment[26:28] == b"\xff\xff"
