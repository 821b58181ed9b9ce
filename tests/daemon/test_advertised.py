"""What is believed of a server that advertises routes, honest or not."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from mqvpn.config.routes import MAX_PREFIXES
from mqvpn.daemon.advertised import Advertised, own_networks
from mqvpn.system.link import Interface
from mqvpn.wire.address import AddressRange


def ranges(*texts: str) -> list[AddressRange]:
    """From START-END or a prefix."""
    found = []
    for text in texts:
        start, dash, end = text.partition("-")
        net: Any = None if dash else ip_network(text)
        found.append(AddressRange(*((ip_address(start), ip_address(end)) if dash else (net[0], net[-1]))))
    return found


def texts(networks: tuple[Any, ...]) -> list[str]:
    return [str(network) for network in networks]


def test_ranges_become_prefixes() -> None:
    advertised = Advertised()
    advertised.update(ranges("0.0.0.0/0", "10.0.0.1-10.0.0.4", "::/0"), ())
    assert texts(advertised.current) == ["0.0.0.0/0", "10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32", "::/0"]


def test_what_is_withdrawn_is_remembered_and_may_come_back() -> None:
    advertised = Advertised()
    advertised.update(ranges("10.0.0.0/8", "2001:db8::/32"), ())
    advertised.update(ranges("2001:db8::/32"), ())
    advertised.update((), ())
    assert (advertised.current, texts(advertised.withdrawn)) == ((), ["10.0.0.0/8", "2001:db8::/32"])
    advertised.update(ranges("10.0.0.0/8"), ())
    assert (texts(advertised.current), texts(advertised.withdrawn)) == (["10.0.0.0/8"], ["2001:db8::/32"])


def test_our_own_networks_are_not_the_servers_to_route() -> None:
    def link(name: str, address: str) -> Interface:
        return Interface(name, 2, up=True, carrier=True, mtu=1500, addresses=frozenset([ip_interface(address)]))

    own = own_networks([link("eth0", "192.0.2.7/24"), link("mq0", "10.9.0.2/32")], "mq0", ["198.51.100.1", "fe80::1%2"])
    advertised = Advertised()
    wish = ("10.9.0.0/24", "127.0.0.0/8", "192.0.2.0/24", "192.0.2.128/25", "198.51.100.1/32", "224.0.0.0/4")
    advertised.update(ranges(*wish, "fe80::/64", "ff02::/16"), own)
    assert texts(advertised.current) == ["10.9.0.0/24"]
    advertised.update(ranges("192.0.0.0/16", "198.51.100.0/24"), own)
    assert texts(advertised.current) == ["192.0.0.0/16", "198.51.100.0/24"]


def test_no_more_than_so_many_over_time(caplog: pytest.LogCaptureFixture) -> None:
    """What was withdrawn counts, or a server could have the table grow without end."""
    advertised = Advertised()
    for second in range(3):
        advertised.update(ranges(*(f"10.{second}.{n // 256}.{n % 256}/32" for n in range(0, 600, 2))), ())
    assert len(advertised.current) + len(advertised.withdrawn) == MAX_PREFIXES
    assert len(advertised.withdrawn) == MAX_PREFIXES  # the first ones, which must not go past the tunnel now
    assert "more routes than the 512 that are followed" in caplog.text


def test_one_range_of_very_many_prefixes() -> None:
    advertised = Advertised()
    advertised.update(ranges(*(f"2001:db8:{n:x}::1-2001:db8:{n:x}:ffff:ffff:ffff:ffff:fffe" for n in range(20))), ())
    assert len(advertised.current) == MAX_PREFIXES


@pytest.mark.parametrize(("first", "bits", "count"), [("0.0.0.0", 32, 6500), ("::", 128, 1900)])
def test_as_many_as_one_capsule_can_hold_do_not_stop_the_loop(first: str, bits: int, count: int) -> None:
    """In time of the processor: packets wait meanwhile."""
    step = 2**bits // count
    base = ip_address(first)
    crowd = [AddressRange(base + n * step + 1, base + (n + 1) * step - 2, 0) for n in range(count)]
    advertised = Advertised()
    begin = time.process_time()
    advertised.update(crowd, [ip_network(f"192.168.{n}.0/24") for n in range(6)])
    assert time.process_time() - begin < 1
    assert len(advertised.current) == MAX_PREFIXES


def test_routes_for_one_protocol_are_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    advertised = Advertised()
    advertised.update([AddressRange(ip_address("10.0.0.0"), ip_address("10.0.0.255"), 6)], ())
    assert advertised.current == ()
    assert "for one protocol only" in caplog.text
