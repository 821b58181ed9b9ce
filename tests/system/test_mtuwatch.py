"""Another MTU of an interface, by crafted messages and by the real kernel's."""

from __future__ import annotations

import select
import struct

import pytest

from mqvpn.system.mtuwatch import DELLINK, IFLA_MTU, NEWLINK, MtuWatch
from tests.lab.net import Net
from tests.system.inside import inside
from tests.system.test_monitor import message, uplink


class Told:
    """A subscription to these datagrams."""

    def __init__(self, *datagrams: bytes) -> None:
        self._datagrams = datagrams

    def datagrams(self) -> tuple[bytes, ...]:
        return self._datagrams


def watch(*datagrams: bytes) -> MtuWatch:
    found = MtuWatch()
    found.close()
    found._events = Told(*datagrams)  # type: ignore[assignment]
    return found


def link(kind: int, index: int, mtu: int) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 1, index, 0, 0) + struct.pack("=HHI", 8, IFLA_MTU, mtu))


def test_only_another_mtu_counts() -> None:
    assert watch(link(NEWLINK, 3, 1500)).changed()
    found = watch(link(NEWLINK, 3, 1500), link(NEWLINK, 4, 1400))
    assert [found.changed(), found.changed()] == [True, False]
    found._events = Told(link(NEWLINK, 3, 1500) + link(NEWLINK, 4, 1280))  # type: ignore[assignment]
    assert [found.changed(), found.changed()] == [True, False]


def test_an_interface_that_goes_is_forgotten() -> None:
    found = watch(link(DELLINK, 3, 1500))
    assert not found.changed()
    found = watch(link(NEWLINK, 3, 1500), link(DELLINK, 3, 1500))
    assert [found.changed(), found.changed()] == [True, True]


def test_lost_messages_may_have_been_about_any() -> None:
    assert watch(b"").changed()


@pytest.mark.parametrize("size", range(1, 40))
def test_a_cut_message_tells_nothing(size: int) -> None:
    assert not watch(link(NEWLINK, 3, 1500)[:size]).changed()


@pytest.mark.netns
def test_the_kernel_tells(net: Net) -> None:
    client, _ = uplink(net)

    def run() -> None:
        found = MtuWatch()
        for change, is_news in (
            ("link set eth0 mtu 1400", True),
            ("addr add 192.0.2.2/24 dev eth0", False),
            ("link set eth0 up", False),
            ("link set eth0 mtu 1500", True),
        ):
            client.ip(*change.split())
            select.select([found], [], [], 0.2)
            assert found.changed() == is_news, change
        found.close()

    inside(client, run)
