"""What names, patterns and auto mean among the interfaces that there are."""

from __future__ import annotations

import pytest

from mqvpn.daemon.interfaces import MOST, chosen
from mqvpn.system.link import Interface


def interface(name: str, kind: str = "") -> Interface:
    return Interface(name, 1, True, True, 1500, frozenset(), kind)


KINDS = {"lo": "loopback", "mqvpn0": "tun", "wg0": "wireguard"}
PRESENT = {name: interface(name, KINDS.get(name, "")) for name in ("eth1", "eth0", "wlan0", *KINDS)}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (("eth1", "usb0"), ["eth1", "usb0"]),
        (("eth*",), ["eth0", "eth1"]),
        (("*",), ["eth0", "eth1", "wlan0"]),
        (("w*", "eth1"), ["eth1", "wlan0"]),
        (("eth1", "eth*"), ["eth1", "eth0"]),
        (("auto",), ["eth0", "wlan0"]),
    ],
)
def test_which_interfaces_are_meant(wanted: tuple[str, ...], names: list[str]) -> None:
    assert chosen(wanted, PRESENT, (), lambda one: one.name != "eth1") == names


def test_auto_keeps_what_it_had_and_has_a_limit() -> None:
    assert chosen(("auto",), PRESENT, ("eth1",), lambda one: False) == ["eth1"]
    many = {name: interface(name) for name in map("eth{}".format, range(10, 30))}
    assert len(chosen(("eth*",), many, (), lambda one: True)) == MOST
