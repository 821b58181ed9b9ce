"""The general assertion can fail, says what is left, and knows what is none of a daemon's doing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.system.undo import FILE
from tests.lab.net import LabError, Namespace, Net

pytestmark = pytest.mark.netns

ROUTE = "ip route add unreachable 10.0.0.0/8 table 777"


def a_daemon_leaves(net: Net, journal: Path, *commands: str) -> Namespace:
    """A namespace with a link, in which a daemon starts, makes these changes and ends."""
    host, other = net.namespace("host"), net.namespace("other")
    net.veth(host, "eth0", other, "eth0")
    net.daemon_starts(host, journal)
    for command in commands:
        host.run(*command.split())
    return host


@pytest.mark.parametrize(
    "command",
    [
        ROUTE,
        "ip -6 rule add priority 5 lookup 777",
        "ip address add 10.9.0.2/32 dev eth0",
        "ip link add left type veth",
        "ip link set eth0 mtu 1400",
        "nft add table inet left",
        "sysctl -qw net.ipv4.conf.eth0.rp_filter=2",
    ],
)
def test_what_a_daemon_leaves_fails_its_test(tmp_path: Path, command: str) -> None:
    with pytest.raises(AssertionError, match=r"left in mq.*-host"), Net() as net:
        a_daemon_leaves(net, tmp_path, command)


def test_what_it_takes_back_does_not(tmp_path: Path) -> None:
    with Net() as net:
        a_daemon_leaves(net, tmp_path, ROUTE, ROUTE.replace("add", "delete"))


def test_what_comes_by_itself_does_not(tmp_path: Path) -> None:
    """Carriers, the kernel's addresses, and counters."""
    with Net() as net:
        host = net.namespace("host")
        other = net.namespace("other")
        net.veth(host, "eth0", other, "eth0")
        host.ip("link", "set", "eth0", "up")
        host.run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; counter; }")
        net.daemon_starts(host, tmp_path)
        other.ip("link", "set", "eth0", "up")
        host.run("ping", "-c1", "127.0.0.1")
        assert "fe80" in host.ip("address", "show", "eth0")


def test_what_the_test_changes_it_declares_but_ours_is_never_meant(tmp_path: Path) -> None:
    with Net() as net:
        host = a_daemon_leaves(net, tmp_path, ROUTE, "ip link delete eth0")
        host.unchanged.but('"table": "777"')
        host.unchanged.but_interfaces("eth0")
        assert host.unchanged.left() == []
        host.ip("rule", "add", "lookup", "777", "protocol", "171")
        assert [line.partition(":")[0] for line in host.unchanged.left()] == ["rules4"]
        host.ip("rule", "delete", "lookup", "777", "protocol", "171")


def test_the_journal_of_one_that_was_killed_waits_for_its_successor(tmp_path: Path) -> None:
    with Net() as net:
        (tmp_path / FILE).touch()
        a_daemon_leaves(net, tmp_path, ROUTE)


def test_a_test_that_has_failed_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no-such-command"), Net() as net:
        a_daemon_leaves(net, tmp_path, ROUTE, "no-such-command")
