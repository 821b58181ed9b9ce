"""Headers (RFC 791, RFC 8200), checksums (RFC 1071) and when an ICMP error may be sent."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.ip import (
    ICMPV6,
    IpHeader,
    checksum,
    no_route,
    packet_too_big,
    source_refused,
)
from tests.wire.packets import UDP, ipv4, ipv6

GATEWAY = IPv4Address("10.0.0.1")
GATEWAY6 = IPv6Address("fd00::1")


def plain_checksum(data: bytes) -> int:
    """The sum as RFC 1071 words it."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@given(st.one_of(st.binary(max_size=100), st.sampled_from([b"", bytes(20), b"\xff" * 20])))
def test_checksum(data: bytes) -> None:
    assert checksum(data) == plain_checksum(data)


def test_ipv4_header() -> None:
    header = IpHeader.read(ipv4(options=bytes(8)))
    assert header == IpHeader(IPv4Address("10.0.0.2"), IPv4Address("192.0.2.1"), 17, 28, False)
    assert header.version == 4


def test_ipv6_header() -> None:
    header = IpHeader.read(ipv6())
    assert header == IpHeader(IPv6Address("fd00::2"), IPv6Address("2001:db8::1"), 17, 40, False)
    assert header.version == 6


def test_extension_headers_are_walked() -> None:
    hop_by_hop = bytes([43, 1]) + bytes(14)
    routing = bytes([51, 0]) + bytes(6)
    authentication = bytes([60, 4]) + bytes(22)
    destination = bytes([44, 0]) + bytes(6)
    fragment = bytes([17, 0, 0, 1]) + bytes(4)  # offset 0, more to come
    chain = hop_by_hop + routing + authentication + destination + fragment
    header = IpHeader.read(ipv6(chain + UDP, protocol=0))
    assert (header.protocol, header.payload, header.later_fragment) == (17, 40 + len(chain), False)


def test_the_walk_ends_at_a_later_fragment() -> None:
    fragment = bytes([60, 0, 0, 8]) + bytes(4)
    header = IpHeader.read(ipv6(fragment + b"\xff" * 8, protocol=44))
    assert (header.protocol, header.later_fragment) == (60, True)
    assert IpHeader.read(ipv4(fragment=0x2001)).later_fragment
    assert not IpHeader.read(ipv4(fragment=0x6000)).later_fragment


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x50" + bytes(60),
        ipv4()[:19],
        ipv4()[:-1],
        ipv4() + b"\0",
        b"\x44" + ipv4()[1:],
        b"\x4f" + ipv4()[1:],
        ipv6()[:39],
        ipv6()[:-1],
        ipv6() + b"\0",
        ipv6(bytes([17, 0]), protocol=0),
        ipv6(bytes([17, 9]) + bytes(6), protocol=0),
    ],
)
def test_broken_packets_are_refused_and_never_answered(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        IpHeader.read(packet)
    for source in (GATEWAY, GATEWAY6):
        assert packet_too_big(packet, 1280, source) is None


@given(st.sampled_from([0x40, 0x45, 0x60]), st.binary(max_size=120))
def test_any_bytes_are_a_header_or_an_error(first: int, data: bytes) -> None:
    packet = bytes([first]) + data
    no_route(packet, GATEWAY)
    try:
        header = IpHeader.read(packet)
    except DecodeError:
        return
    assert header.payload <= len(packet)


@given(st.sampled_from([0, 43, 44, 51, 60, 135]), st.binary(max_size=80))
def test_any_extension_headers_are_walked_or_an_error(protocol: int, data: bytes) -> None:
    try:
        header = IpHeader.read(ipv6(data, protocol=protocol))
    except DecodeError:
        return
    assert 40 <= header.payload <= 40 + len(data)


def parse4(error: bytes | None) -> tuple[int, int, int, bytes]:
    """Check an ICMPv4 error as its receiver does; return type, code, the four bytes after, the quote."""
    assert error is not None
    header = IpHeader.read(error)
    assert (header.source, header.destination, header.protocol) == (GATEWAY, IPv4Address("10.0.0.2"), 1)
    assert plain_checksum(error[:20]) == 0
    assert plain_checksum(error[20:]) == 0
    return error[20], error[21], int.from_bytes(error[24:28]), error[28:]


def parse6(error: bytes | None) -> tuple[int, int, int, bytes]:
    assert error is not None
    header = IpHeader.read(error)
    assert (header.source, header.destination, header.protocol) == (GATEWAY6, IPv6Address("fd00::2"), ICMPV6)
    pseudo = error[8:40] + (len(error) - 40).to_bytes(4) + bytes([0, 0, 0, ICMPV6])
    assert plain_checksum(pseudo + error[40:]) == 0
    return error[40], error[41], int.from_bytes(error[44:48]), error[48:]


def test_packet_too_big() -> None:
    assert parse4(packet_too_big(ipv4(), 1382, GATEWAY)) == (3, 4, 1382, ipv4())
    assert parse6(packet_too_big(ipv6(), 1382, GATEWAY6)) == (2, 0, 1382, ipv6())


def test_destination_unreachable() -> None:
    assert parse4(source_refused(ipv4(), GATEWAY))[:3] == (3, 13, 0)
    assert parse6(source_refused(ipv6(), GATEWAY6))[:3] == (1, 5, 0)
    assert parse4(no_route(ipv4(), GATEWAY))[:3] == (3, 1, 0)
    assert parse6(no_route(ipv6(), GATEWAY6))[:3] == (1, 0, 0)


def test_errors_quote_what_fits_into_576_and_1280_bytes() -> None:
    error = packet_too_big(ipv4(bytes(1400)), 1280, GATEWAY)
    assert error is not None
    assert len(error) == 576
    assert parse4(error)[3] == ipv4(bytes(1400))[:548]
    error = packet_too_big(ipv6(bytes(1400)), 1280, GATEWAY6)
    assert error is not None
    assert len(error) == 1280
    assert parse6(error)[3] == ipv6(bytes(1400))[:1232]


def test_the_source_has_the_packets_version() -> None:
    assert no_route(ipv4(), GATEWAY6) is None
    assert no_route(ipv6(), GATEWAY) is None


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_no_error_about_an_icmpv4_error(kind: int) -> None:
    assert no_route(ipv4(bytes([kind]) + bytes(7), protocol=1), GATEWAY) is None


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 127, 137])
def test_no_error_about_an_icmpv6_error_or_redirect(kind: int) -> None:
    assert packet_too_big(ipv6(bytes([kind]) + bytes(7), protocol=58), 1280, GATEWAY6) is None
    hidden = bytes([58, 0]) + bytes(6) + bytes([kind]) + bytes(7)
    assert no_route(ipv6(hidden, protocol=60), GATEWAY6) is None


def test_echo_is_answered() -> None:
    assert no_route(ipv4(b"\x08" + bytes(7), protocol=1), GATEWAY) is not None
    assert no_route(ipv6(b"\x80" + bytes(7), protocol=58), GATEWAY6) is not None


def test_no_error_about_icmp_of_unknown_type() -> None:
    assert no_route(ipv4(b"", protocol=1), GATEWAY) is None
    later = bytes([58, 0, 0, 8]) + bytes(12)
    assert no_route(ipv6(later, protocol=44), GATEWAY6) is None


def test_no_error_about_a_later_ipv4_fragment() -> None:
    assert no_route(ipv4(fragment=0x2000), GATEWAY) is not None
    assert no_route(ipv4(fragment=0x0001), GATEWAY) is None


@pytest.mark.parametrize("destination", ["224.0.0.1", "239.1.2.3", "255.255.255.255"])
def test_no_error_about_ipv4_to_many(destination: str) -> None:
    assert packet_too_big(ipv4(destination=destination), 1280, GATEWAY) is None


def test_ipv6_multicast_gets_packet_too_big_only() -> None:
    assert no_route(ipv6(destination="ff0e::1"), GATEWAY6) is None
    assert packet_too_big(ipv6(destination="ff0e::1"), 1280, GATEWAY6) is not None


@pytest.mark.parametrize("source", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"])
def test_no_error_to_an_ipv4_source_that_is_no_single_host(source: str) -> None:
    assert no_route(ipv4(source=source), GATEWAY) is None


@pytest.mark.parametrize("source", ["::", "::1", "ff02::1"])
def test_no_error_to_an_ipv6_source_that_is_no_single_host(source: str) -> None:
    assert no_route(ipv6(source=source), GATEWAY6) is None
