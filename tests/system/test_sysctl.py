"""Kernel settings: what is written and put back, on a tree of files and in the real kernel."""

from __future__ import annotations

import functools
import logging
import socket
import struct
from pathlib import Path

import pytest

from mqvpn.system.errors import OperationFailed
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import NOTHING, Change, JournalUnwritable, Undo
from tests.lab.descriptors import without_descriptors
from tests.lab.net import Namespace, Net, wait_for
from tests.system.inside import inside
from tests.system.snapshot import difference, snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A /proc/sys with rp_filter alone, for `all` and eth0."""
    for interface in ("all", "eth0"):
        (tmp_path / "net/ipv4/conf" / interface).mkdir(parents=True)
        rp_filter(tmp_path, interface).write_text("0\n")
    return tmp_path


def rp_filter(root: Path, interface: str) -> Path:
    return root / "net/ipv4/conf" / interface / "rp_filter"


@pytest.mark.parametrize(
    ("of_all", "of_interface", "expected"),
    [("0", "0", "0"), ("1", "0", "2"), ("0", "1", "2"), ("1", "1", "2"), ("2", "1", "1"), ("1", "2", "2")],
)
def test_rp_filter_is_loosened_where_it_is_strict(tree: Path, of_all: str, of_interface: str, expected: str) -> None:
    rp_filter(tree, "all").write_text(of_all)
    rp_filter(tree, "eth0").write_text(of_interface)
    with Sysctls(tree) as sysctls:
        sysctls.loosen_rp_filter("eth0")
        sysctls.loosen_rp_filter("eth0")
        assert rp_filter(tree, "eth0").read_text().strip() == expected
        assert rp_filter(tree, "all").read_text() == of_all
    assert rp_filter(tree, "eth0").read_text().strip() == of_interface


def test_each_change_is_a_line_in_the_log(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rp_filter(tree, "eth0").write_text("1")
    with Sysctls(tree) as sysctls:
        sysctls.loosen_rp_filter("eth0")
    assert caplog.messages == [
        "set net/ipv4/conf/eth0/rp_filter to 2 (was 1)",
        "put net/ipv4/conf/eth0/rp_filter back to 1",
    ]


def test_a_value_that_somebody_else_changed_is_left_alone(tree: Path) -> None:
    rp_filter(tree, "eth0").write_text("1")
    with Sysctls(tree) as sysctls:
        sysctls.loosen_rp_filter("eth0")
        rp_filter(tree, "eth0").write_text("0")
    assert rp_filter(tree, "eth0").read_text() == "0"


def test_a_successor_puts_back_what_it_finds_in_the_journal(tree: Path, tmp_path: Path) -> None:
    rp_filter(tree, "eth0").write_text("1")
    Sysctls(tree, Undo(tmp_path / "client-a")).loosen_rp_filter("eth0")  # and this one is killed
    second = Sysctls(tree, Undo(tmp_path / "client-a"))
    second.loosen_rp_filter("eth0")
    assert rp_filter(tree, "eth0").read_text() == "2"
    second.restore()
    assert rp_filter(tree, "eth0").read_text() == "1"
    assert Undo(tmp_path / "client-a").record == NOTHING


def test_a_kill_between_journal_and_change_puts_nothing_back(tree: Path, tmp_path: Path) -> None:
    Undo(tmp_path / "client-a").note(sysctls={"net/ipv4/conf/eth0/rp_filter": Change("0", "2")})
    rp_filter(tree, "eth0").write_text("1")
    Sysctls(tree, Undo(tmp_path / "client-a")).restore()
    assert rp_filter(tree, "eth0").read_text() == "1"


@pytest.mark.parametrize("first_to_go", [0, 1])
def test_the_last_of_two_instances_puts_it_back(tree: Path, tmp_path: Path, first_to_go: int) -> None:
    rp_filter(tree, "eth0").write_text("1")
    both = [Sysctls(tree, Undo(tmp_path / name)) for name in ("client-a", "client-b")]
    for one in both:
        one.loosen_rp_filter("eth0")
    both[first_to_go].restore()
    assert rp_filter(tree, "eth0").read_text() == "2"
    both[1 - first_to_go].restore()
    assert rp_filter(tree, "eth0").read_text() == "1"


def test_without_a_place_for_the_journal_nothing_is_changed(tree: Path, tmp_path: Path) -> None:
    rp_filter(tree, "eth0").write_text("1")
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnwritable, match="what is to be undone: Not a directory; make room"):
        Sysctls(tree, Undo(tmp_path / "file" / "below")).loosen_rp_filter("eth0")
    assert rp_filter(tree, "eth0").read_text() == "1"


def test_an_interface_that_has_gone_is_no_trouble(tree: Path) -> None:
    rp_filter(tree, "eth0").write_text("1")
    with Sysctls(tree) as sysctls:
        sysctls.loosen_rp_filter("eth9")
        sysctls.loosen_rp_filter("eth0")
        rp_filter(tree, "eth0").unlink()
    assert not rp_filter(tree, "eth0").exists()


def test_a_refusal_says_what_to_write_where(tmp_path: Path) -> None:
    problem = "set net/ipv4/ip_forward = 1 in /etc/sysctl.d"
    with Sysctls(tmp_path / "missing") as sysctls, pytest.raises(OperationFailed, match=problem):
        sysctls.forward({4}, "tun0")


def test_without_a_descriptor_nothing_is_changed_and_nothing_forgotten(tree: Path, tmp_path: Path) -> None:
    """Whoever comes later puts it back: that a setting cannot be read does not mean that there is none."""
    rp_filter(tree, "eth0").write_text("1")
    first, home = Sysctls(tree, Undo(tmp_path / "client-a")), tmp_path / "client-a"
    with without_descriptors(), pytest.raises(OperationFailed, match=r"read net.*: Too many open files"):
        first.loosen_rp_filter("eth0")
    first.loosen_rp_filter("eth0")
    with without_descriptors():
        assert not first.restore()
        with pytest.raises(OperationFailed, match="Too many open files"):
            Undo(home)
        with pytest.raises(OperationFailed, match="Too many open files"):
            first.forward({6}, "tun0")
    assert rp_filter(tree, "eth0").read_text() == "2"
    assert Sysctls(tree, Undo(home)).restore()
    assert (rp_filter(tree, "eth0").read_text(), Undo(home).record) == ("1", NOTHING)


class Guarded(Sysctls):
    """Somebody keeps eth1 as it is by now."""

    def _write(self, name: str, value: str) -> None:
        if "eth1" in name and value == "1":
            raise OperationFailed(f"set {name}", "Permission denied", "ask him")
        super()._write(name, value)


def test_what_cannot_be_put_back_stays_in_the_journal(tree: Path, tmp_path: Path) -> None:
    for name in ("eth0", "eth1"):
        rp_filter(tree, name).parent.mkdir(exist_ok=True)
        rp_filter(tree, name).write_text("1")
    sysctls = Guarded(tree, Undo(tmp_path / "client-a"))
    sysctls.loosen_rp_filter("eth0")
    sysctls.loosen_rp_filter("eth1")
    assert not sysctls.restore()
    assert list(Undo(tmp_path / "client-a").record.sysctls) == ["net/ipv4/conf/eth1/rp_filter"]
    assert Sysctls(tree, Undo(tmp_path / "client-a")).restore()
    assert [rp_filter(tree, name).read_text() for name in ("eth0", "eth1")] == ["1", "1"]


def router(net: Net) -> Namespace:
    """A host with two uplinks and settings that are all unusual."""
    server, other = net.namespace("server"), net.namespace("other")
    for interface in ("eth0", "eth1", "tun0"):
        net.veth(server, interface, other, interface)
    server.sysctl(
        ipv4__conf__eth1__forwarding=1,
        ipv4__conf__all__accept_redirects=0,
        ipv6__conf__eth1__accept_ra=0,
        ipv6__conf__default__forwarding=1,
    )
    return server


def value(server: Namespace, name: str) -> str:
    return server.run("sysctl", "-n", name).strip()


@pytest.mark.netns
def test_forwarding_comes_and_goes_without_a_trace(net: Net) -> None:
    server = router(net)
    before = snapshot(server.name)

    def run() -> list[str]:
        with Sysctls() as sysctls:
            sysctls.forward({4, 6}, "tun0")
            sysctls.forward({4, 6}, "tun0")
            changed = difference(before, snapshot(server.name))
        return changed

    changed = inside(server, run)
    assert "net.ipv4.ip_forward: 0 -> 1" in changed
    assert "net.ipv6.conf.all.forwarding: 0 -> 1" in changed
    assert "net.ipv6.conf.eth0.accept_ra: 1 -> 2" in changed
    assert not [line for line in changed if "accept_ra" in line and "eth0" not in line]
    assert difference(before, snapshot(server.name)) == []


@pytest.mark.netns
def test_the_family_that_is_not_served_is_not_touched(net: Net) -> None:
    server = router(net)

    def run() -> str:
        with Sysctls() as sysctls:
            sysctls.forward({4}, "tun0")
            return value(server, "net.ipv6.conf.all.forwarding") + value(server, "net.ipv4.ip_forward")

    assert inside(server, run) == "01"


@pytest.mark.netns
def test_a_default_route_from_router_advertisements_survives(net: Net) -> None:
    server, gateway = net.namespace("server"), net.namespace("gateway")
    net.veth(server, "eth0", gateway, "eth0")
    for host in (server, gateway):
        host.ip("link", "set", "eth0", "up")
    for host in (server, gateway):
        wait_for("a link-local address", functools.partial(has_link_local, host))
    inside(gateway, advertise)
    wait_for("the default route", lambda: default_route(server))

    def run() -> str:
        with Sysctls() as sysctls:
            sysctls.forward({6}, "tun0")
            return default_route(server)

    assert "proto ra" in inside(server, run)
    assert "proto ra" in default_route(server)


@pytest.mark.netns
def test_an_uplink_that_appears_later_listens_too_and_keeps_nothing_of_it(net: Net, tmp_path: Path) -> None:
    """Also when who undoes it is not who did it."""
    server, gateway = net.namespace("server"), net.namespace("gateway")
    before = snapshot(server.name)

    def appear() -> None:
        net.veth(server, "eth0", gateway, "eth0")
        for host in (server, gateway):
            host.ip("link", "set", "eth0", "up")

    inside(server, lambda: Sysctls(undo=Undo(tmp_path / "server")).forward({6}, "tun0"))
    appear()
    wait_for("a link-local address", lambda: has_link_local(server) and has_link_local(gateway))
    inside(gateway, advertise)
    wait_for("the default route", lambda: "proto ra" in default_route(server))
    inside(server, lambda: Sysctls(undo=Undo(tmp_path / "server")).restore())
    assert value(server, "net.ipv6.conf.eth0.accept_ra") == "1"
    server.ip("link", "delete", "eth0")
    assert difference(before, snapshot(server.name)) == []


def has_link_local(host: Namespace) -> bool:
    return "fe80:" in host.ip("addr", "show", "eth0")


def default_route(host: Namespace) -> str:
    return host.ip("-6", "route", "show", "default")


def advertise() -> None:
    """One router advertisement (RFC 4861, section 4.2): a default router for half an hour."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        packet = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        everybody = ("ff02::1", 0, 0, socket.if_nametoindex("eth0"))
        icmp.sendto(packet, everybody)
