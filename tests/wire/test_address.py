"""The lists of RFC 9484, section 4.7, and each of their validity rules."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.address import (
    AddressAssign,
    AddressRange,
    AddressRequest,
    AssignedAddress,
    RequestedAddress,
    RouteAdvertisement,
    ranges_of,
)
from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.capsule import Capsule
from tests.wire.strategies import capsules


def written(capsule: Capsule) -> bytes:
    out = Writer()
    capsule.write(out)
    return bytes(out)


def span(start: str, end: str, protocol: int = 0) -> AddressRange:
    return AddressRange(ip_address(start), ip_address(end), protocol)


def fields(*ranges: tuple[str, str, int]) -> bytes:
    """Encode ranges without any check."""
    data = b""
    for start, end, protocol in ranges:
        first = ip_address(start)
        data += bytes([first.version]) + first.packed + ip_address(end).packed + bytes([protocol])
    return data


@given(capsules)
def test_round_trip(capsule: Capsule) -> None:
    assert type(capsule).read(Reader(written(capsule))) == capsule


@pytest.mark.parametrize("kind", [AddressAssign, AddressRequest, RouteAdvertisement])
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_value_or_an_error(kind: type[AddressAssign], data: bytes) -> None:
    try:
        capsule = kind.read(Reader(data))
    except DecodeError:
        return
    assert kind.read(Reader(written(capsule))) == capsule


def test_assign_has_the_layout_of_figure_8() -> None:
    prefixes = IPv4Network("192.0.2.1/32"), IPv6Network("2001:db8::/64")
    capsule = AddressAssign((AssignedAddress(0, prefixes[0]), AssignedAddress(300, prefixes[1])))
    assert written(capsule).hex() == "0004c000020120" + "412c06" + "20010db8" + "00" * 12 + "40"


def test_routes_have_the_layout_of_figure_12() -> None:
    assert written(RouteAdvertisement((span("0.0.0.0", "255.255.255.255"),))).hex() == "0400000000ffffffff00"


def test_prefixes_become_ranges_in_order_and_without_overlap() -> None:
    texts = ("2001:db8::/32", "10.128.0.0/9", "10.0.0.0/9", "10.1.0.0/16", "192.0.2.1/32")
    ranges = ranges_of(map(ip_network, texts))
    v6 = span("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
    assert ranges == (span("10.0.0.0", "10.255.255.255"), span("192.0.2.1", "192.0.2.1"), v6)
    assert RouteAdvertisement(ranges).ranges == ranges
    assert ranges_of(()) == ()


@pytest.mark.parametrize("version", [0, 5, 7, 255])
def test_version_is_4_or_6(version: int) -> None:
    with pytest.raises(DecodeError, match="IP Version"):
        AddressAssign.read(Reader(bytes([0, version]) + bytes(17)))
    with pytest.raises(DecodeError, match="IP Version"):
        RouteAdvertisement.read(Reader(bytes([version]) + bytes(33)))


@pytest.mark.parametrize("data", [b"\x00\x04" + bytes(4) + b"\x21", b"\x00\x06" + bytes(16) + b"\x81"])
def test_prefix_is_no_longer_than_the_address(data: bytes) -> None:
    with pytest.raises(DecodeError, match="a prefix of"):
        AddressAssign.read(Reader(data))


@pytest.mark.parametrize("kind", [AddressAssign, AddressRequest])
def test_bits_beyond_the_prefix_are_zero(kind: type[AddressAssign]) -> None:
    with pytest.raises(DecodeError, match="bits set beyond"):
        kind.read(Reader(b"\x01\x04\x0a\x00\x00\x02\x18"))


def test_lenient_takes_an_ipv6_prefix_with_host_bits_as_one_address() -> None:
    data = b"\x00\x06" + IPv6Address("fd00::2").packed + b"\x70"
    with pytest.raises(DecodeError, match="bits set beyond"):
        AddressAssign.read(Reader(data))
    capsule = AddressAssign.read(Reader(data), lenient=True)
    assert capsule.addresses == (AssignedAddress(0, IPv6Network("fd00::2/128")),)


def test_lenient_takes_true_prefixes_as_they_are_and_no_ipv4_host_bits() -> None:
    data = b"\x00\x06" + IPv6Address("fd00::").packed + b"\x70"
    assert AddressAssign.read(Reader(data), lenient=True).addresses[0].prefix == IPv6Network("fd00::/112")
    with pytest.raises(DecodeError, match="bits set beyond"):
        AddressAssign.read(Reader(b"\x00\x04\x0a\x00\x00\x02\x18"), lenient=True)


def test_all_zero_full_length_is_a_refusal() -> None:
    assert AssignedAddress(7, IPv4Network("0.0.0.0/32")).refused
    assert AssignedAddress(7, IPv6Network("::/128")).refused
    assert not AssignedAddress(7, IPv6Network("::/64")).refused


def test_requests_are_one_at_least() -> None:
    with pytest.raises(DecodeError, match="no Requested Address"):
        AddressRequest.read(Reader(b""))
    with pytest.raises(ValueError, match="no Requested Address"):
        AddressRequest(())


def test_request_ids_are_not_zero() -> None:
    with pytest.raises(DecodeError, match="Request ID of zero"):
        AddressRequest.read(Reader(b"\x00\x04" + bytes(4) + b"\x20"))
    with pytest.raises(ValueError, match="Request ID of zero"):
        RequestedAddress(0, IPv4Network("0.0.0.0/32"))


def test_request_ids_differ() -> None:
    one = b"\x05\x04" + bytes(4) + b"\x20"
    with pytest.raises(DecodeError, match="a Request ID twice"):
        AddressRequest.read(Reader(one + one))


@pytest.mark.parametrize(
    ("ranges", "fault"),
    [
        ([("10.0.0.2", "10.0.0.1", 0)], "is no range"),
        ([("::", "::1", 0), ("10.0.0.0", "10.0.0.1", 0)], "out of order"),  # version
        ([("10.0.0.0", "10.0.0.1", 17), ("10.1.0.0", "10.1.0.1", 6)], "out of order"),  # protocol
        ([("10.0.0.0", "10.0.0.5", 6), ("10.0.0.5", "10.0.0.9", 6)], "out of order"),  # address
        ([("10.0.0.0", "10.0.0.9", 0), ("10.0.0.5", "10.0.0.5", 6)], "overlaps"),
        ([("10.0.0.0", "10.0.0.1", 0), ("10.0.0.6", "10.0.0.9", 0), ("10.0.0.0", "10.0.0.9", 6)], "overlaps"),
        ([("fd00::1", "fd00::9", 0), ("fd00::", "fd00::1", 58)], "overlaps"),
    ],
)
def test_routes_that_break_the_order_are_refused(ranges: list[tuple[str, str, int]], fault: str) -> None:
    with pytest.raises(DecodeError, match=fault):
        RouteAdvertisement.read(Reader(fields(*ranges)))
    with pytest.raises(ValueError, match=fault):
        RouteAdvertisement(tuple(span(*item) for item in ranges))


def test_routes_may_touch_and_may_share_addresses_between_protocols_and_versions() -> None:
    ranges = [
        ("10.0.0.0", "10.0.0.9", 0),
        ("10.0.0.10", "10.0.0.19", 0),
        ("10.0.0.20", "10.0.0.29", 6),
        ("10.0.0.20", "10.0.0.29", 17),
        ("::a00:14", "::a00:1d", 0),
    ]
    assert len(RouteAdvertisement.read(Reader(fields(*ranges))).ranges) == 5


def test_a_range_has_one_version_and_a_real_protocol() -> None:
    with pytest.raises(ValueError, match="is no range"):
        AddressRange(IPv4Address("10.0.0.1"), IPv6Address("::ffff:1"))
    with pytest.raises(ValueError, match="Internet Protocol Number"):
        span("10.0.0.0", "10.0.0.1", 256)
