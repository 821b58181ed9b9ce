"""UDP flows with the stamps of the C mqvpn (`mqvpn-reorder: v1`): their bytes, who gets them, and several paths."""

from itertools import pairwise

import pytest

from mqvpn.dataplane import engine
from mqvpn.wire.drop import Drop
from tests.dataplane.oracle import TCP, ip, tcp
from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, feed, goodput, packets, udp_packet
from tests.dataplane.test_resequence import check_only_what_is_lost_is_missing, numbers
from tests.dataplane.test_stamps import RESET, RULES, stamp, stamped_pair

TWO = [Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)]


def two_paths() -> list[Link]:
    return [Link(delay=link.delay, rate=link.rate) for link in TWO]


def payloads(pair: Pair, sent: list[bytes], gso_size: int = 0) -> list[bytes]:
    """What the client's engine puts into HTTP datagrams for these packets: Context ID and all behind it."""
    pair.server.conn.unbind()  # such datagrams come as events
    pair.server.events.clear()
    pair.client.push(sent, pair.now, gso_size)
    pair.run(0.3)
    found = [event[2] for event in pair.server.events if event[0] == engine.DATAGRAM]
    assert all(payload[:1] == b"\0" for payload in found)
    return [payload[1:] for payload in found]


def test_the_bytes_of_a_stamp() -> None:
    """context 0 | 01 | flags (FLOW_RESET on the first 8) | sequence, 48 bit, from 0 | IP packet."""
    sent = packets(12)
    assert payloads(stamped_pair([Link()]), sent) == [
        bytes.fromhex("00 01") + bytes([number < 8]) + number.to_bytes(6, "big") + packet
        for number, packet in enumerate(sent)
    ]


def test_each_flow_counts_for_itself() -> None:
    sent = [packets(1, port=port, first=n)[0] for n in range(5) for port in (2000, 2001, 2002)]
    found = payloads(stamped_pair([Link()]), sent)
    assert sorted(found) == sorted(b"\0" + stamp(n // 3, RESET) + packet for n, packet in enumerate(sent))


def test_segments_of_a_super_packet_are_stamped_one_by_one() -> None:
    packet = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(1000))
    found = payloads(stamped_pair([Link()]), [packet], gso_size=400)
    assert [(payload[:9], len(payload) - 9) for payload in found] == [
        (b"\0" + stamp(0, RESET), 428), (b"\0" + stamp(1, RESET), 428), (b"\0" + stamp(2, RESET), 228)
    ]


def fragment(offset: int, more: bool) -> bytes:
    packet = bytearray(udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(64)))
    packet[6:8] = (0x2000 * more | offset).to_bytes(2, "big")
    return bytes(packet)


def from_client(packet: bytes) -> bytes:
    return packet[:12] + udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"")[12:20] + packet[20:]


def ip_packet(protocol: int, body: bytes) -> bytes:
    head = bytearray(udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"")[:20])
    head[2:4], head[9] = (20 + len(body)).to_bytes(2, "big"), protocol
    return bytes(head) + body


RAW = {
    "first fragment": fragment(0, True),
    "last fragment": fragment(8, False),
    "TCP": from_client(ip(4, TCP, tcp(bytes(50)))),
    "ICMP": ip_packet(1, bytes(20)),
    "half a UDP header": ip_packet(17, bytes(4)),
}


@pytest.mark.parametrize("packet", RAW.values(), ids=RAW)
def test_what_is_no_whole_udp_packet_goes_as_it_is(packet: bytes) -> None:
    assert payloads(stamped_pair([Link()]), [packet] * 3) == [b"\0" + packet] * 3


def ipv6(headers: bytes, following: int) -> bytes:
    """A UDP packet of the client's behind these extension headers."""
    body = headers + (1000).to_bytes(2, "big") + (2000).to_bytes(2, "big") + (16).to_bytes(2, "big") + bytes(10)
    address = bytes.fromhex("fd") + bytes(14)
    fixed = bytes.fromhex("60000000") + len(body).to_bytes(2, "big") + bytes([following, 64])
    return fixed + address + b"\2" + address + b"\1" + body


@pytest.mark.parametrize(
    ("packet", "is_stamped"),
    [
        (ipv6(b"", 17), True),
        (ipv6(b"\x3c" + bytes(7) + b"\x11" + bytes(7), 0), True),  # hop-by-hop and destination options
        (ipv6(b"\x11" + bytes(7), 44), False),  # a fragment, though the only one
    ],
)
def test_extension_headers_are_walked(packet: bytes, is_stamped: bool) -> None:
    pair = stamped_pair([Link()])
    pair.client.conn.allow([], [])
    stamps = stamp(0, RESET) if is_stamped else b""
    assert payloads(pair, [packet]) == [b"\0" + stamps + packet]


@pytest.mark.parametrize(
    ("ports", "is_stamped"),
    [((5000, 443), True), ((443, 5000), True), ((5000, 53), False), ((1000, 53), False), ((5000, 5000), False),
     ((1000, 5000), True)],
)
def test_rules_choose_by_either_port_and_the_first_one_wins(ports: tuple[int, int], is_stamped: bool) -> None:
    packet = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(100), ports)
    found = payloads(stamped_pair([Link()], RULES), [packet])
    assert found == [b"\0" + (stamp(0, RESET) if is_stamped else b"") + packet]


def test_there_may_be_sixteen_rules() -> None:
    pair = Pair([Link()])
    pair.client.conn.set_reorder([(port, 0.05, 1024) for port in range(1, 17)])
    with pytest.raises(ValueError, match="16"):
        pair.client.conn.set_reorder([(port, 0.05, 1024) for port in range(1, 18)])


def test_nothing_is_stamped_that_was_not_negotiated() -> None:
    sent = packets(3)
    assert payloads(Pair([Link()]), sent) == [b"\0" + packet for packet in sent]


def test_flows_that_share_an_entry_are_not_stamped() -> None:
    """4,096 flows have one of their own; a sequence for two flows would hold both up at the receiver."""
    pair = stamped_pair([Link(delay=0.001)], seed=3)
    sent = [udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"1234", (1000 + n, 9)) for n in range(4200)]
    for at in range(0, len(sent), 60):
        pair.client.push(sent[at : at + 60], pair.now)
        pair.run(0.002)
    assert sorted(pair.server.received) == sorted(sent)
    last = sent[-60:]
    assert sorted(payloads(pair, last)) == sorted(b"\0" + packet for packet in last)


def test_a_flow_over_several_paths_that_comes_to_share_its_entry_does_not_pause() -> None:
    """Its next packets have no numbers, so that it keeps to one path again."""
    pair = stamped_pair(two_paths(), seed=3)
    ports = iter(range(10_000, 30_000))

    def meet_others(count: int) -> None:
        sent = [udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"1234", (next(ports), 9)) for _ in range(count)]
        pair.client.push(sent, pair.now)

    for _ in range(65):
        meet_others(63)
        pair.run(0.002)
    last, pause, numbered = feed_and_look(pair, 0.5), 0.0, [pair.server.conn.order().numbered]
    for _ in range(250):
        meet_others(60)
        last = max(last, feed_and_look(pair, 0.005))
        pause = max(pause, pair.now - last)
        numbered.append(pair.server.conn.order().numbered)
    assert numbered[0] < numbered[5] < numbered[-1] == numbered[-20]
    assert pause < 0.05


def feed_and_look(pair: Pair, seconds: float) -> float:
    """Go on with the large flow; when a packet of it arrived last, 0.0: none did."""
    pair.server.received.clear()
    feed(pair, 10_000_000, seconds)
    return pair.now if any(len(packet) > 1000 for packet in pair.server.received) else 0.0


# One flow over several paths


@pytest.mark.parametrize("scheduler", ["wlb", "minrtt"])
def test_one_udp_flow_uses_the_sum_of_both_paths_in_order(scheduler: str) -> None:
    pair = stamped_pair(two_paths(), scheduler=scheduler)
    feed(pair, 10_000_000, 4)
    arrived = numbers(pair)
    assert goodput(pair, 2, 10_000_000) > 0.9 * 8_750_000
    assert len(arrived) > 20_000
    assert sum(b < a for a, b in pairwise(arrived)) < len(arrived) * 0.002
    assert len(set(arrived)) == len(arrived)


def test_a_udp_flow_that_fits_one_path_stays_there() -> None:
    pair = stamped_pair(two_paths())
    before = pair.server.conn.path(1).rx_packets
    feed(pair, 1_000_000, 2)
    assert pair.server.conn.path(1).rx_packets - before < 5


def test_a_tcp_flow_keeps_to_one_path() -> None:
    pair = stamped_pair(two_paths())
    before = [pair.server.conn.path(n).rx_packets for n in (0, 1)]
    packet = from_client(ip(4, TCP, tcp(bytes(1200))))
    for _ in range(1000):
        pair.client.push([packet] * 10, pair.now)
        pair.run(0.001)
    moved = sorted(pair.server.conn.path(n).rx_packets - before[n] for n in (0, 1))
    assert moved[1] > 3000
    assert moved[0] < 20


def test_losses_do_not_hold_a_flow_up_for_longer_than_it_may_wait() -> None:
    links = two_paths()
    links[0].loss = links[1].loss = 0.01
    pair = stamped_pair(links)
    check_only_what_is_lost_is_missing(pair)


def test_the_largest_packet_has_room_for_its_stamp() -> None:
    pair = stamped_pair([Link()])
    mtu = 1400 - engine.OVERHEAD - engine.STAMP_BYTES
    check_largest(pair, mtu)


def test_the_largest_datagram_frame_of_the_peer_has_room_for_the_stamp() -> None:
    """RFC 9221, section 3: the limit is for the whole frame, here with its type, quarter stream ID and context."""
    pair = stamped_pair([Link()])
    pair.client.conn.set_peer(3, 0.025, 1000, 65535)
    check_largest(pair, 1000 - 3 - engine.STAMP_BYTES)


def check_largest(pair: Pair, mtu: int) -> None:
    for size in (mtu, mtu + 1):
        pair.client.push([udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(size - 28))], pair.now)
    pair.run(0.5)
    assert [len(packet) for packet in pair.server.received] == [mtu]
    assert pair.client.engine.drops()[Drop.TOO_BIG] == 1
