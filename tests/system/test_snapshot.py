"""The oracle must see what clean-up may forget, and nothing that changes by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.lab.net import Net
from tests.system.snapshot import difference, ours, snapshot

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("ip addr add 10.9.0.2/32 dev lo", "addresses added"),
        ("ip route add unreachable 10.0.0.0/8 table 777", "routes added"),
        ("ip -6 route add unreachable fd00::/8 table 777", "routes added"),
        ("ip -4 rule add priority 5 lookup 777", "rules4 added"),
        ("ip -6 rule add priority 5 lookup 777", "rules6 added"),
        ("ip -4 rule delete lookup default", "rules4 lost"),
        ("nft add table inet mqvpn_tun0", "nftables added"),
        ("sysctl -qw net.ipv4.conf.lo.rp_filter=2", "net.ipv4.conf.lo.rp_filter: 0 -> 2"),
        ("sysctl -qw net.ipv4.ip_forward=1", "net.ipv4.ip_forward: 0 -> 1"),
        ("sysctl -qw net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.all.forwarding: 0 -> 1"),
    ],
)
def test_every_kind_of_change_is_seen(net: Net, command: str, part: str) -> None:
    host = net.namespace("host")
    before = snapshot(host.name)
    host.run(*command.split())
    assert [line for line in difference(before, snapshot(host.name)) if line.startswith(part)]


def test_the_file_of_name_servers_is_seen(net: Net) -> None:
    host = net.namespace("host")
    folder = Path("/etc/netns", host.name)  # ip-netns(8): what is in it stands in for /etc there
    folder.mkdir(parents=True)
    try:
        (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
        before = snapshot(host.name)
        (folder / "resolv.conf").write_text("nameserver 192.0.2.2\n")
        lines = ["resolv.conf lost: nameserver 192.0.2.1", "resolv.conf added: nameserver 192.0.2.2"]
        assert difference(before, snapshot(host.name)) == lines
    finally:
        shutil.rmtree(folder)


def test_what_is_ours_is_known(net: Net) -> None:
    host = net.namespace("host")
    host.ip("rule", "add", "priority", "5", "lookup", "777", "protocol", "171")
    host.ip("-6", "route", "add", "unreachable", "fd00::/8", "table", "777", "proto", "171")
    host.run("nft", "add table inet mqvpn_block_home; add table inet theirs")
    assert [line.partition(":")[0] for line in ours(snapshot(host.name))] == ["routes", "rules4", "nftables"]


def test_nothing_changed_is_no_difference(net: Net) -> None:
    host = net.namespace("host")
    host.run("nft", "add table inet filter; add chain inet filter c; add rule inet filter c counter")
    before = snapshot(host.name)
    host.run("ping", "-c1", "127.0.0.1")
    assert difference(before, snapshot(host.name)) == []
