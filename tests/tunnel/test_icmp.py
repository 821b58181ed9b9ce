"""ICMP errors come from the packet's own destination, and only where one may be sent."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from mqvpn.tunnel.icmp import packet_too_big, unreachable
from mqvpn.wire.drop import Drop
from mqvpn.wire.ip import IpHeader
from tests.wire.packets import ipv4, ipv6


@pytest.mark.parametrize("packet", [ipv4(), ipv6()], ids=["IPv4", "IPv6"])
def test_sent_back_from_the_destination(packet: bytes) -> None:
    asked = IpHeader.read(packet)
    for answer in (packet_too_big(packet, 1280), unreachable(packet, Drop.NO_ROUTE)):
        assert answer is not None
        header = IpHeader.read(answer)
        assert (header.source, header.destination) == (asked.destination, asked.source)


@pytest.mark.parametrize(
    ("packet", "reason", "kind"),
    [
        (ipv4(), Drop.NO_ROUTE, (3, 1)),
        (ipv4(), Drop.SOURCE_NOT_ASSIGNED, (3, 13)),
        (ipv6(), Drop.NO_ROUTE, (1, 0)),
        (ipv6(), Drop.SOURCE_NOT_ASSIGNED, (1, 5)),
    ],
)
def test_the_reason_is_told(packet: bytes, reason: Drop, kind: tuple[int, int]) -> None:
    answer = unreachable(packet, reason)
    assert answer is not None
    payload = IpHeader.read(answer).payload
    assert (answer[payload], answer[payload + 1]) == kind


def test_the_mtu_is_told() -> None:
    answer = packet_too_big(ipv4(), 1368)
    assert answer is not None
    assert int.from_bytes(answer[26:28]) == 1368


@pytest.mark.parametrize("packet", [ipv4(bytes(1480)), ipv6(bytes(1460))], ids=["IPv4", "IPv6"])
def test_a_packet_cut_short_by_the_engine(packet: bytes) -> None:
    answer = packet_too_big(packet[:1300], 1368)
    assert answer is not None
    assert answer == packet_too_big(packet, 1368)


@pytest.mark.parametrize("packet", [b"", b"\x45", ipv4(destination="224.0.0.251"), ipv6(destination="ff02::1")])
def test_no_answer(packet: bytes) -> None:
    assert packet_too_big(packet, 1280) is None
    assert unreachable(packet, Drop.NO_ROUTE) is None


def test_addresses_are_not_our_own() -> None:
    """What comes out of the TUN with a source address of this machine is dropped as a martian."""
    answer = unreachable(ipv4(source="10.0.0.2", destination="192.0.2.7"), Drop.NO_ROUTE)
    assert answer is not None
    assert IpHeader.read(answer).source == ip_address("192.0.2.7")
