"""The TUN device in super packets: a socket pair in its place, against the plain twin."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.segment import segments
from mqvpn.dataplane.tun import Tun
from mqvpn.wire.drop import Drop
from tests.dataplane import oracle
from tests.dataplane.oracle import ACK, CWR, ECE, FIN, PSH, TCP, UDP, VIRTIO

NEEDS_CSUM, TCPV4, TCPV6, UDP_L4, ECN = 1, 1, 4, 5, 0x80


class Device:
    """The kernel's side of a descriptor that keeps message boundaries, as a TUN descriptor does."""

    def __init__(self, vnet_header: bool = True, uso: bool = True) -> None:
        self.kernel, self._ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.kernel, self._ours):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.tun = Tun(self._ours.fileno(), vnet_header, uso)

    def close(self) -> None:
        self.kernel.close()
        self._ours.close()

    def read(self, *messages: bytes, limit: int = 32) -> list[bytes]:
        """What arrives of these messages, cut into segments."""
        for message in messages:
            self.kernel.send(message)
        batch = PacketBatch()
        count = self.tun.read(batch, 1.5, limit)
        assert count == len(batch)
        return segments(batch)

    def write(self, *packets: bytes) -> list[bytes]:
        """What the kernel sees when these packets are written."""
        refs = PacketRefs()
        for packet in packets:
            refs.append(packet)
        assert self.tun.write(refs) == len(packets)
        assert len(refs) == 0
        return list(self.messages())

    def messages(self) -> Iterator[bytes]:
        while True:
            try:
                yield self.kernel.recv(70000)
            except BlockingIOError:
                return


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.close()


def super_packet(packet: bytes, gso_size: int, ecn: int = 0, **change: int) -> bytes:
    """What the kernel hands over: virtio header, and the packet with the pseudo header's sum only."""
    protocol, at = oracle.transport(packet)
    field = 16 if protocol == TCP else 6
    kind = UDP_L4 if protocol == UDP else TCPV4 if packet[0] >> 4 == 4 else TCPV6
    facts = {
        "flags": NEEDS_CSUM,
        "gso_type": kind | ecn,
        "hdr_len": 0,
        "gso_size": gso_size,
        "csum_start": at,
        "csum_offset": field,
    } | change
    return VIRTIO.pack(*facts.values()) + packet


# Reading


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_super_packets_become_segments(device: Device, version: int, protocol: int) -> None:
    rest = oracle.tcp(bytes(60000), flags=ACK | PSH) if protocol == TCP else oracle.udp(bytes(60000))
    packet = oracle.ip(version, protocol, rest)
    assert device.read(super_packet(packet, 1200)) == oracle.split(packet, 1200)
    assert not any(device.tun.drops().values())


def test_cwr_stays_on_the_first_segment(device: Device) -> None:
    packet = oracle.ip(4, TCP, oracle.tcp(bytes(3000), flags=ACK | CWR | ECE))
    assert device.read(super_packet(packet, 1200, ECN)) == oracle.split(packet, 1200)


@pytest.mark.parametrize("extension", [0, 60])
def test_ipv6_extension_headers_are_part_of_every_segment(device: Device, extension: int) -> None:
    packet = bytearray(oracle.ip(6, UDP, oracle.udp(bytes(5000)), options=bytes([UDP, 0, 1, 4, 0, 0, 0, 0])))
    packet[6] = extension
    assert device.read(super_packet(bytes(packet), 1000)) == oracle.split(bytes(packet), 1000)


PACKET = oracle.ip(4, TCP, oracle.tcp(bytes(3000)))
FRAGMENT = oracle.ip(4, TCP, oracle.tcp(bytes(3000)), fragment=0x2000)
PACKET6 = oracle.ip(6, TCP, oracle.tcp(bytes(3000)))
ROUTED = PACKET6[:6] + b"\x2b" + PACKET6[7:]  # a routing header follows


@pytest.mark.parametrize(
    "message",
    [
        super_packet(PACKET, 1000, gso_type=TCPV6),
        super_packet(PACKET, 1000, gso_type=UDP_L4),
        super_packet(PACKET, 1000, gso_type=3),
        super_packet(PACKET, 0),
        super_packet(PACKET, 1000, flags=0),
        super_packet(PACKET, 1000, csum_start=24),
        super_packet(PACKET, 1000, csum_offset=6),
        super_packet(PACKET[:40], 1000),
        super_packet(PACKET[:39], 1000),
        super_packet(PACKET[:32] + b"\xf0" + PACKET[33:60], 1000),
        super_packet(PACKET[:32] + b"\x40" + PACKET[33:], 1000),
        super_packet(FRAGMENT, 1000),
        super_packet(ROUTED, 1000, csum_start=40, csum_offset=16),
        super_packet(oracle.ip(4, UDP, oracle.udp(bytes(3000))), 1000, ECN),
        super_packet(PACKET, 0, gso_type=0, csum_start=len(PACKET) - 17),
        super_packet(PACKET, 0, gso_type=0, csum_start=65535, csum_offset=65535),
        super_packet(PACKET, 0, gso_type=0, csum_start=0),
    ],
)
def test_an_offload_that_contradicts_the_packet_is_dropped(device: Device, message: bytes) -> None:
    assert device.read(message) == []
    assert device.tun.drops()[Drop.BAD_OFFLOAD] == 1


@pytest.mark.parametrize("message", [b"x", bytes(10), bytes(10) + b"\x45" + bytes(18), bytes(10) + b"\x50" * 40])
def test_what_is_not_ip_is_dropped(device: Device, message: bytes) -> None:
    assert device.read(message) == []
    assert device.tun.drops()[Drop.NOT_IP] == 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_partial_checksums_are_finished(device: Device, version: int, protocol: int) -> None:
    rest = oracle.tcp(b"hello") if protocol == TCP else oracle.udp(b"hello")
    packet = oracle.ip(version, protocol, rest)
    at = oracle.transport(packet)[1]
    field = at + (16 if protocol == TCP else 6)
    unfinished = bytearray(packet)
    pseudo = ~oracle.checksum(oracle.pseudo(packet)) & 0xFFFF
    unfinished[field : field + 2] = pseudo.to_bytes(2, "big")
    assert device.read(super_packet(bytes(unfinished), 0, gso_type=0)) == [packet]


def test_a_turn_is_bounded_and_resumes(device: Device) -> None:
    packets = [oracle.ip(4, UDP, oracle.udp(b"%d" % index)) for index in range(40)]
    assert device.read(*(bytes(10) + packet for packet in packets), limit=32) == packets[:32]
    assert device.read(limit=32) == packets[32:]
    assert device.read() == []


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_read_or_dropped(message: bytes) -> None:
    device = Device()
    try:
        device.read(bytes([len(message) & 1, message[0] & 7 if message else 0]) + message)
        device.read(super_packet(PACKET[:60], 5)[: 2 + len(message) % 8] + message)
    finally:
        device.close()


# Writing


def stream(count: int, size: int, version: int = 4, sport: int = 1000) -> list[bytes]:
    """Consecutive segments of one TCP flow."""
    bodies = [oracle.tcp(bytes([index]) * size, sport=sport, seq=index * size) for index in range(count)]
    return [oracle.ip(version, TCP, body, ident=index) for index, body in enumerate(bodies)]


@pytest.mark.parametrize("version", [4, 6])
def test_segments_of_one_flow_are_written_in_one_piece(device: Device, version: int) -> None:
    packets = stream(40, 1300, version)
    [message] = device.write(*packets)
    assert message == oracle.written(packets)
    assert device.read(message) == packets


@pytest.mark.parametrize("version", [4, 6])
def test_equal_datagrams_are_written_in_one_piece_if_the_kernel_takes_them(version: int) -> None:
    packets = [oracle.ip(version, UDP, oracle.udp(bytes([index]) * 1200), ident=index) for index in range(5)]
    packets.append(oracle.ip(version, UDP, oracle.udp(b"shorter"), ident=5))
    device, old = Device(uso=True), Device(uso=False)
    try:
        assert device.write(*packets) == [oracle.written(packets)]
        assert device.read(oracle.written(packets)) == packets
        assert old.write(*packets) == [bytes(10) + packet for packet in packets]
    finally:
        device.close()
        old.close()


@pytest.mark.parametrize("flows", [2, 4, 8])
def test_interleaved_flows_are_joined_each(device: Device, flows: int) -> None:
    streams = [stream(10, 700, sport=index) for index in range(flows)]
    mixed = [packet for row in zip(*streams, strict=True) for packet in row]
    assert device.write(*mixed) == [oracle.written(packets) for packets in streams]


def changed(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


@pytest.mark.parametrize(
    "second",
    [
        oracle.ip(4, TCP, oracle.tcp(bytes(99), seq=100), ident=2),  # shorter: joins
        oracle.ip(4, TCP, oracle.tcp(bytes(101), seq=100), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=101), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, ack=8), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, window=499), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, options=b"\1\1\1\0"), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, flags=ACK | ECE), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, flags=ACK | CWR), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, flags=ACK | PSH), ident=2),  # joins
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, flags=ACK | FIN), ident=2),  # joins
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, flags=4), ident=2),
        oracle.ip(4, TCP, oracle.tcp(b"", seq=100), ident=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, tos=3),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, ttl=63),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=9),  # joins: DF
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, fragment=0),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, fragment=0x2000),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, options=b"\1\1\1\0"),
        changed(oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2), 120, 1),  # wrong TCP checksum
        changed(oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2), 10, 1),  # wrong IP checksum
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=2, hosts=2),
        oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100, sport=5), ident=2),
        oracle.ip(4, UDP, oracle.udp(bytes(100)), ident=2),
        oracle.ip(4, 1, bytes(100), ident=2),
    ],
)
def test_what_continues_a_super_packet(device: Device, second: bytes) -> None:
    first = oracle.ip(4, TCP, oracle.tcp(bytes(100)), ident=1)
    assert device.write(first, second) == oracle.coalesce([first, second])


@pytest.mark.parametrize("ident", [2, 3])
def test_without_df_the_ipv4_id_must_count_up(device: Device, ident: int) -> None:
    first = oracle.ip(4, TCP, oracle.tcp(bytes(100)), ident=1, fragment=0)
    second = oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100), ident=ident, fragment=0)
    assert len(device.write(first, second)) == (1 if ident == 2 else 2)


def test_a_push_does_not_end_a_super_packet(device: Device) -> None:
    flags = (ACK, ACK | PSH, ACK)
    packets = [oracle.ip(4, TCP, oracle.tcp(bytes(100), seq=100 * n, flags=flags[n]), ident=n) for n in range(3)]
    (found,) = device.write(*packets)
    assert len(found) == 10 + 40 + 300
    assert found[10 + 20 + 13] == ACK | PSH


def test_ipv6_extension_headers_are_not_joined(device: Device) -> None:
    option = bytes([TCP, 0, 1, 4, 0, 0, 0, 0])
    packets = [oracle.ip(6, TCP, oracle.tcp(bytes(100), seq=100 * n), options=option) for n in range(2)]
    assert device.write(*packets) == [bytes(10) + packet for packet in packets]


def test_super_packets_end_at_64_segments_and_64_kilobytes(device: Device) -> None:
    small, large = stream(130, 100), stream(100, 1360)
    assert [len(message) for message in device.write(*small)] == [10 + 40 + 6400] * 2 + [10 + 40 + 200]
    found = device.write(*large)
    assert found == oracle.coalesce(large)
    assert max(map(len, found)) == 10 + 40 + 48 * 1360


FACTS = st.fixed_dictionaries(
    {
        "sport": st.sampled_from([1, 2]),
        "count": st.integers(1, 5),
        "flags": st.sampled_from([ACK, ACK, ACK | PSH, ACK | FIN, ACK | ECE]),
        "protocol": st.sampled_from([TCP, TCP, UDP]),
        "version": st.sampled_from([4, 6]),
        "fragment": st.sampled_from([0, 0x4000]),
        "spoiled": st.sampled_from([None, None, None, 8, 11, 17, 30, 45, 70]),
    }
)


def batch_of(runs: list[dict[str, int]], order: list[int]) -> list[bytes]:
    """Runs of segments of a few flows, each run continuing its flow, interleaved in the given order."""
    sent: dict[tuple[int, ...], int] = {}
    rows = []
    for run in runs:
        key = (run["sport"], run["protocol"], run["version"])
        row = []
        for index in range(run["count"]):
            number = sent.get(key, 0)
            sent[key] = number + 1
            last = index == run["count"] - 1
            flags = run["flags"] if last else ACK
            body = bytes([number]) * (90 if not last or number % 2 else 50)
            tcp = oracle.tcp(body, sport=run["sport"], seq=number * 90, flags=flags)
            rest = tcp if run["protocol"] == TCP else oracle.udp(body, sport=run["sport"])
            packet = oracle.ip(run["version"], run["protocol"], rest, ident=number, fragment=run["fragment"])
            spoil = run["spoiled"]
            row.append(changed(packet, spoil, packet[spoil] ^ 1) if spoil and last else packet)
        rows.append(row)
    mixed = []
    for choice in order:
        row = rows[choice % len(rows)]
        mixed += [row.pop(0)] if row else []
    return mixed + [packet for row in rows for packet in row]


@given(st.lists(FACTS, min_size=1, max_size=8), st.lists(st.integers(0, 7), max_size=30), st.booleans())
@settings(max_examples=400)
def test_batches_are_written_as_the_twin_does(runs: list[dict[str, int]], order: list[int], uso: bool) -> None:
    packets = batch_of(runs, order)
    device = Device(uso=uso)
    try:
        assert device.write(*packets) == oracle.coalesce(packets, uso)
    finally:
        device.close()


# Without IFF_VNET_HDR, and when the kernel refuses


def test_without_virtio_header_packets_pass_as_they_are() -> None:
    device = Device(vnet_header=False)
    packets = stream(5, 1000)
    try:
        assert device.write(*packets) == packets
        assert device.read(*packets) == packets
        assert device.tun.write_packet(packets[0])
        assert list(device.messages()) == packets[:1]
    finally:
        device.close()


def test_a_packet_of_our_own(device: Device) -> None:
    packet = oracle.ip(4, 1, bytes(100))
    assert device.tun.write_packet(packet)
    assert list(device.messages()) == [bytes(10) + packet]


def test_refused_packets_are_counted(device: Device) -> None:
    refs = PacketRefs()
    for packet in stream(130, 100):
        refs.append(packet)
    device.kernel.close()
    assert device.tun.write(refs) == 0
    assert device.tun.drops()[Drop.TUN_WRITE] == 130
    assert device.tun.failed == 0


@pytest.mark.netns
def test_a_device_that_is_gone_is_noticed() -> None:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)  # not attached: the same answer
    try:
        tun = Tun(descriptor)
        assert tun.failed == 0
        assert tun.read(PacketBatch(), 0.0) == 0
        assert tun.failed == errno.EBADFD
        fresh = Tun(descriptor)
        assert not fresh.write_packet(oracle.ip(4, UDP, oracle.udp(b"x")))
        assert fresh.failed == errno.EBADFD
    finally:
        os.close(descriptor)
