"""The MSS of TCP through the tunnel: the compiled clamp against a slow twin, and both ways through two engines."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.dataplane.engine import AES_128_GCM, PACKET, SEND, Engine
from mqvpn.dataplane.mss import clamped
from mqvpn.dataplane.packet import PacketBatch
from mqvpn.dataplane.udp import Bursts
from tests.dataplane import oracle
from tests.dataplane.oracle import ACK, SYN, TCP, UDP
from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair

OVERHEAD = 1 + 8 + 4 + 3 + 16  # short header, DATAGRAM with quarter stream ID and context, tag


def mss_option(value: int) -> bytes:
    return struct.pack("!BBH", 2, 4, value)


def twin(packet: bytes, mtu: int) -> bytes:
    """What clamped() has to give, with the checksum made anew if it was right."""
    protocol, at = oracle.transport(packet)
    if protocol != TCP or not packet[at + 13] & SYN:
        return packet
    most = mtu - (20 if packet[0] >> 4 == 4 else 40) - 20
    place, end = at + 20, at + (packet[at + 12] >> 4) * 4
    while most >= 48 and place + 1 < end and packet[place] != 0:
        kind = packet[place]
        length = 1 if kind == 1 else packet[place + 1]
        if kind != 1 and (length < 2 or place + length > end):
            break
        if kind == 2:
            if length == 4 and int.from_bytes(packet[place + 2 : place + 4], "big") > most:
                return oracle.finished(packet[: place + 2] + most.to_bytes(2, "big") + packet[place + 4 :])
            break
        place += length
    return packet


def equal(one: bytes, other: bytes) -> bool:
    """Equal, where the checksums 0 and 0xffff are the same number."""
    field = oracle.transport(one)[1] + 16
    return one[:field] + one[field + 2 :] == other[:field] + other[field + 2 :] and (
        one[field : field + 2] == other[field : field + 2]
        or {one[field : field + 2], other[field : field + 2]} == {b"\0\0", b"\xff\xff"}
    )


@st.composite
def syns(draw: st.DrawFn) -> bytes:
    """SYN, SYN-ACK and other segments with all sorts of options around an MSS, also at odd offsets."""
    other = st.one_of(
        st.just(b"\x01"),
        st.just(b"\x03\x03\x07"),
        st.just(b"\x04\x02"),
        st.binary(max_size=5),
        st.integers(0, 0xFFFF).map(mss_option),
    )
    options = b"".join(draw(st.lists(other, max_size=5)))[:40]
    options += bytes(-len(options) % 4)
    flags = draw(st.sampled_from([SYN, SYN | ACK, ACK, SYN | oracle.ECE | oracle.CWR]))
    rest = oracle.tcp(draw(st.binary(max_size=3)), flags=flags, options=options)
    version = draw(st.sampled_from([4, 6]))
    before = draw(st.sampled_from([b"", bytes([TCP, 0, 1, 4, 0, 0, 0, 0])])) if version == 6 else b""
    return oracle.ip(version, TCP, rest, options=before)


@given(syns(), st.integers(0, 2000))
def test_the_clamp_equals_its_twin(packet: bytes, mtu: int) -> None:
    assert equal(clamped(packet, mtu), twin(packet, mtu))


@given(syns(), st.integers(0, 2000), st.integers(1, 0xFFFE))
def test_a_wrong_checksum_stays_wrong(packet: bytes, mtu: int, error: int) -> None:
    field = oracle.transport(packet)[1] + 16
    right = int.from_bytes(packet[field : field + 2], "big")
    wrong = packet[:field] + ((right + error) % 0xFFFF).to_bytes(2, "big") + packet[field + 2 :]
    after = clamped(wrong, mtu)
    assert not equal(after, oracle.finished(after))


@given(st.binary(max_size=120), st.integers(0, 70_000))
def test_any_bytes_pass(packet: bytes, mtu: int) -> None:
    assert len(clamped(packet, mtu)) == len(packet)


@given(syns(), st.integers(0, 20))
def test_a_packet_cut_short_passes(packet: bytes, cut: int) -> None:
    short = packet[: len(packet) - cut]
    assert len(clamped(short, 100)) == len(short)


def test_fragments_and_other_protocols_are_left_alone() -> None:
    syn = oracle.tcp(b"", flags=SYN, options=mss_option(1460))
    later = oracle.ip(4, TCP, syn, fragment=0x2001)
    assert clamped(later, 1000) == later
    datagram = oracle.ip(4, UDP, oracle.udp(mss_option(1460) * 9))
    assert clamped(datagram, 1000) == datagram


# Through two engines


def syn(source: str, destination: str, flags: int = SYN, mss: int = 8960) -> bytes:
    packet = oracle.ip(4, TCP, oracle.tcp(b"", flags=flags, options=b"\x01" + mss_option(mss) + b"\x01\x01\x01"))
    addresses = ip_address(source).packed + ip_address(destination).packed
    return oracle.finished(packet[:12] + addresses + packet[20:])


def mss_of(packet: bytes) -> int:
    assert packet == oracle.finished(packet)
    return int.from_bytes(packet[43:45], "big")


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_both_directions_are_clamped_to_the_smallest_path(flags: int) -> None:
    pair = Pair([Link(), Link()])
    for end in (pair.client, pair.server):
        end.conn.set_path(1, mtu=1331)
    pair.client.push([syn(CLIENT_ADDRESS, SERVER_ADDRESS, flags)], pair.now)
    pair.server.push([syn(SERVER_ADDRESS, CLIENT_ADDRESS, flags)], pair.now)
    pair.run(0.1)
    assert [mss_of(packet) for packet in pair.server.received] == [1331 - OVERHEAD - 40]
    assert [mss_of(packet) for packet in pair.client.received] == [1331 - OVERHEAD - 40]


def test_an_end_that_does_not_clamp_is_clamped_by_the_other() -> None:
    """What comes in is lowered to what this end can send: its own paths' size counts, not the peer's."""
    pair = Pair([Link()])
    pair.server.conn.set_path(0, mtu=1331)
    pair.client.push([syn(CLIENT_ADDRESS, SERVER_ADDRESS)], pair.now)
    pair.run(0.1)
    assert [mss_of(packet) for packet in pair.server.received] == [1331 - OVERHEAD - 40]


def test_a_path_that_goes_away_counts_no_more() -> None:
    pair = Pair([Link(), Link()])
    for end in (pair.client, pair.server):
        end.conn.set_path(1, mtu=1331)
        end.conn.abandon_path(1)
    pair.client.push([syn(CLIENT_ADDRESS, SERVER_ADDRESS)], pair.now)
    pair.run(0.1)
    assert [mss_of(packet) for packet in pair.server.received] == [1400 - OVERHEAD - 40]


def test_a_small_mss_is_left_as_it_is() -> None:
    pair = Pair([Link()])
    packet = syn(CLIENT_ADDRESS, SERVER_ADDRESS, mss=536)
    pair.client.push([packet], pair.now)
    pair.run(0.1)
    assert pair.server.received == [packet]


def test_each_session_of_a_server_has_its_own() -> None:
    engine, batch = Engine(is_server=True), PacketBatch()
    sizes = {"10.0.0.2": 1400, "10.0.0.3": 1331}
    sessions = {}
    for number, (address, mtu) in enumerate(sizes.items()):
        conn = sessions[address] = engine.connection(is_client=False)
        conn.set_keys(SEND, 0, AES_128_GCM, bytes(16), bytes(12), bytes(16))
        conn.open_path(0, 0, ("192.0.2.1", 1000 + number), None, bytes(8))
        conn.set_path(0, validated=True, usable=True, mtu=mtu)
        conn.bind(0)
        conn.allow([], [(ip_address(address).packed, 32)])
        batch.append(syn(SERVER_ADDRESS, address))
    engine.from_tun(batch, 1.0)
    for conn in sessions.values():  # so that what waits can be looked at
        conn.bind(0, capsules=True)
        conn.set_capsule_room(10_000)
    engine.transmit(Bursts(), 1.0)
    found = {event[1]: mss_of(event[2]) for event in engine.events() if event[0] == PACKET}
    assert found == {sessions[address].id: mtu - OVERHEAD - 40 for address, mtu in sizes.items()}
