"""What may pass: sources, destinations, scope and ICMP (RFC 9484, sections 4.6 to 4.8 and 7.2)."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from mqvpn.connectip.error import StreamError
from mqvpn.connectip.policy import Destination, Policy, policy
from mqvpn.connectip.request import Scope
from mqvpn.wire.address import AddressRange, AssignedAddress
from mqvpn.wire.drop import Drop
from mqvpn.wire.http3 import H3ErrorCode
from mqvpn.wire.ip import IpHeader
from tests.wire.packets import UDP, ipv4, ipv6

ASSIGNED = [AssignedAddress(0, IPv4Network("10.0.0.2/32")), AssignedAddress(0, IPv6Network("fd00::2/128"))]


def span(start: str, end: str, protocol: int = 0) -> AddressRange:
    return AddressRange(ip_address(start), ip_address(end), protocol)


EVERYTHING = [span("0.0.0.0", "255.255.255.255"), span("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]


def destinations(rules: Policy) -> list[tuple[str, int]]:
    return [(str(item.prefix), item.protocol) for item in rules.destinations]


def test_a_full_tunnel_is_two_prefixes() -> None:
    rules = policy(ASSIGNED, EVERYTHING)
    assert rules.sources == (IPv4Network("10.0.0.2/32"), IPv6Network("fd00::2/128"))
    assert rules.destinations == (Destination(ip_network("0.0.0.0/0")), Destination(ip_network("::/0")))


def test_ranges_become_prefixes() -> None:
    rules = policy(ASSIGNED, [span("10.0.0.1", "10.0.0.4"), span("10.1.0.0", "10.1.0.255", 6)])
    assert destinations(rules) == [
        ("10.0.0.1/32", 0),
        ("10.0.0.2/31", 0),
        ("10.0.0.4/32", 0),
        ("10.1.0.0/24", 6),
    ]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(protocol=17), [("0.0.0.0/0", 17), ("::/0", 17)]),
        (Scope(IPv4Network("192.0.2.0/24")), [("192.0.2.0/24", 0)]),
        (Scope(IPv6Network("2001:db8::/32"), 6), [("2001:db8::/32", 6)]),
        (Scope("target.example"), [("0.0.0.0/0", 0), ("::/0", 0)]),
    ],
)
def test_scope_narrows(scope: Scope, expected: list[tuple[str, int]]) -> None:
    assert destinations(policy(ASSIGNED, EVERYTHING, scope)) == expected


def test_scope_leaves_out_other_protocols_and_addresses() -> None:
    ranges = [span("10.0.0.0", "10.0.0.255", 6), span("10.0.0.0", "10.0.0.255", 17)]
    assert destinations(policy(ASSIGNED, ranges, Scope(protocol=17))) == [("10.0.0.0/24", 17)]
    assert destinations(policy(ASSIGNED, ranges, Scope(IPv4Network("10.9.0.0/16")))) == []
    assert destinations(policy(ASSIGNED, ranges, Scope(IPv4Network("10.0.0.128/25"), 6))) == [("10.0.0.128/25", 6)]


def test_routes_of_too_many_prefixes_are_abuse() -> None:
    ranges = [span(f"fd00:{n:x}::1", f"fd00:{n:x}:ffff:ffff:ffff:ffff:ffff:fffe") for n in range(1, 40)]
    with pytest.raises(StreamError) as caught:
        policy(ASSIGNED, ranges)
    assert caught.value.code == H3ErrorCode.H3_EXCESSIVE_LOAD


RULES = policy(ASSIGNED, [span("192.0.2.0", "192.0.2.255", 17), span("2001:db8::", "2001:db8::ff", 6)])


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (ipv4(), None),
        (ipv4(source="10.0.0.3"), Drop.SOURCE_NOT_ASSIGNED),
        (ipv6(source="fd00::3", protocol=6), Drop.SOURCE_NOT_ASSIGNED),
        (ipv4(destination="192.0.3.1"), Drop.NO_ROUTE),
        (ipv4(protocol=6), Drop.POLICY),
        (ipv6(protocol=6), None),
        (ipv6(), Drop.POLICY),
        (ipv6(bytes([6, 0]) + bytes(6) + UDP, protocol=60), None),  # the first that is no extension header
        (ipv4(bytes([8]) + bytes(7), protocol=1), None),  # ICMP is always allowed
        (ipv6(bytes([128]) + bytes(7), protocol=58), None),
        (ipv4(protocol=58), Drop.POLICY),  # ICMPv6 in IPv4 is not ICMP
        (ipv4(bytes([8]) + bytes(7), protocol=1, destination="192.0.3.1"), Drop.NO_ROUTE),
        (ipv4(destination="224.0.0.251"), Drop.LINK_LOCAL),
        (ipv4(source="169.254.1.1"), Drop.LINK_LOCAL),
        (ipv6(source="fe80::1"), Drop.LINK_LOCAL),
        (ipv6(destination="ff02::1"), Drop.LINK_LOCAL),
    ],
)
def test_check(packet: bytes, verdict: Drop | None) -> None:
    assert RULES.check(IpHeader.read(packet)) == verdict


def test_nothing_assigned_nothing_passes() -> None:
    assert policy([], EVERYTHING).check(IpHeader.read(ipv4())) == Drop.SOURCE_NOT_ASSIGNED
