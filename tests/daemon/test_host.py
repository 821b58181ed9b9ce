"""What the client does to the machine."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort, Secret
from mqvpn.daemon.host import Host
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import TunLink
from mqvpn.system.routing import Item, Route
from mqvpn.system.undo import Undo
from tests.fakes.kernel import FakeKernel

V4, V6 = IPv4Network("10.0.0.2/32"), IPv6Network("fd00::2/128")


class FakeNetlink(FakeKernel):
    """The routing fake, and the last state of the TUN."""

    tun: TunLink | None = None

    def configure(self, want: TunLink) -> None:
        self.tun = want


def host(**changes: Any) -> tuple[Host, FakeNetlink]:
    netlink = FakeNetlink("mq0")
    settings = ClientSettings(
        **{"server_addr": HostPort("vpn.example", 443), "auth_key": Secret("k"), "manage_routes": True} | changes
    )
    undo = Undo(None)
    return Host(netlink, "mq0", settings, KillSwitch(settings, undo), undo), netlink  # type: ignore[arg-type]


def destinations(items: set[Item]) -> set[str]:
    return {str(item.destination) for item in items if isinstance(item, Route) and item.interface == "mq0"}


def test_addresses_mtu_and_default_routes() -> None:
    machine, netlink = host()
    machine.apply((V4, V6), 1368)
    assert netlink.tun is not None
    assert [str(address) for address in netlink.tun.addresses] == ["10.0.0.2/32", "fd00::2/128"]
    assert netlink.tun.mtu == 1368
    assert destinations(netlink.items) == {"0.0.0.0/0", "::/0"}


def test_only_the_versions_that_were_assigned() -> None:
    machine, netlink = host()
    machine.apply((V4,), 1368)
    assert destinations(netlink.items) == {"0.0.0.0/0"}
    machine.apply((V4, V6), 1368)
    assert destinations(netlink.items) == {"0.0.0.0/0", "::/0"}


@pytest.mark.parametrize(("configured", "proven", "used"), [(0, 1368, 1368), (1300, 1368, 1300), (1400, 1368, 1368)])
def test_the_smaller_mtu_counts(configured: int, proven: int, used: int) -> None:
    machine, netlink = host(mtu=configured)
    machine.apply((V4,), proven)
    assert netlink.tun is not None
    assert netlink.tun.mtu == used


def test_a_new_mtu_leaves_the_routes_alone() -> None:
    machine, netlink = host()
    machine.apply((V4,), 1299)
    done = len(netlink.log)
    machine.apply((V4,), 1368)
    assert len(netlink.log) == done


def test_restore_takes_everything_back() -> None:
    machine, netlink = host()
    machine.apply((V4, V6), 1368)
    machine.restore()
    assert netlink.items == set()


def test_routes_are_left_alone_when_told_so() -> None:
    machine, netlink = host(manage_routes=False)
    machine.let_replies_in(["lo"])
    machine.apply((V4,), 1368)
    machine.restore()
    assert netlink.log == []


def test_restore_goes_on_when_the_kernel_refuses(caplog: pytest.LogCaptureFixture) -> None:
    machine, netlink = host()
    machine.apply((V4,), 1368)

    def refuse(item: Item) -> None:
        raise OperationFailed(f"delete {item}", "Operation not permitted", "run it as root")

    netlink.delete = refuse  # type: ignore[method-assign]
    machine.restore()
    assert "Operation not permitted" in caplog.text
