"""The general assertion can fail, says what is left, and knows what is none of a daemon's doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mqvpn.system.routing import Slot
from mqvpn.system.undo import Undo
from tests.lab.net import LabError, Namespace, Net
from tests.system.inside import inside

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


def note(host: Namespace, journal: Path, **changes: Any) -> None:
    """Write a journal for this namespace, as a daemon that is killed then."""

    def body() -> None:
        with Undo(journal) as undo:
            undo.note(**changes)

    inside(host, body)


def test_what_the_journal_of_one_that_was_killed_tells_of_is_taken_back_first(tmp_path: Path) -> None:
    slot = Slot(3, 777)
    with Net() as net:
        host = a_daemon_leaves(net, tmp_path, f"{ROUTE} protocol 171", "nft add table inet mqvpn_nat_mqs0")
        rule = ("priority", str(slot.tunnel_priority), "lookup", "777", "protocol", "171")
        host.ip("rule", "add", *rule)
        note(host, tmp_path, slot=slot, tables=("mqvpn_nat_mqs0",))


def test_what_it_does_not_tell_of_fails_its_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"left in mq.*-host:\nroutes added"), Net() as net:
        note(a_daemon_leaves(net, tmp_path, ROUTE), tmp_path, tables=("mqvpn_nat_mqs0",))


def test_a_daemon_that_still_runs_fails_its_test(tmp_path: Path) -> None:
    with Undo(tmp_path) as undo:
        assert undo.lock()
        with pytest.raises(AssertionError, match="this daemon runs"), Net() as net:
            note(a_daemon_leaves(net, tmp_path), tmp_path, tables=("mqvpn_nat_mqs0",))


def test_a_test_that_has_failed_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no-such-command"), Net() as net:
        a_daemon_leaves(net, tmp_path, ROUTE, "no-such-command")
