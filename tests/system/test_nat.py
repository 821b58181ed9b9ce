"""Masquerading: the transaction as text, then real packets through a real nftables."""

from __future__ import annotations

import shutil
import socket
import sys
from ipaddress import ip_network

import pytest

from mqvpn.system import nat
from mqvpn.system.errors import OperationFailed
from tests.lab.net import Namespace, Net
from tests.system.inside import inside
from tests.system.snapshot import difference, snapshot

POOL, POOL6 = ip_network("10.9.0.0/24"), ip_network("fd00::/64")


def test_ruleset_replaces_its_own_table_in_one_transaction() -> None:
    text = nat.ruleset("tun0", (POOL, POOL6))
    assert text.startswith("add table inet mqvpn_tun0\ndelete table inet mqvpn_tun0\ntable inet mqvpn_tun0 {")
    assert 'ip saddr 10.9.0.0/24 oifname != "tun0" masquerade' in text
    assert 'ip6 saddr fd00::/64 oifname != "tun0" masquerade' in text
    assert {line.split()[3] for line in text.splitlines() if " table inet" in line} == {"mqvpn_tun0"}


def test_ruleset_any_interface_name_makes_a_table_name() -> None:
    assert "add table inet mqvpn_mq-home.1\n" in nat.ruleset("mq-home.1", ())
    assert "add table inet mqvpn_mq/21home\n" in nat.ruleset("mq!home", ())


def test_missing_nft_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperationFailed, match="no program nft; install the package nftables"):
        nat.apply("tun0", (POOL,))


@pytest.mark.skipif(shutil.which("nft") is None, reason="not installed: nft")
def test_error_holds_the_words_of_nft() -> None:
    with pytest.raises(OperationFailed, match=r"set up masquerading for x.*rror"):
        nat.apply('x" y', (POOL,))


def road(net: Net) -> tuple[Namespace, Namespace, Namespace]:
    """A client behind the server's tun0, the server, and an outside host that knows no way back to it."""
    client, server, outside = net.namespace("client"), net.namespace("server"), net.namespace("outside")
    net.veth(client, "eth0", server, "tun0")
    net.veth(server, "eth0", outside, "eth0")
    for host, interface, ipv4, ipv6 in (
        (client, "eth0", "10.9.0.2/24", "fd00::2/64"),
        (server, "tun0", "10.9.0.1/24", "fd00::1/64"),
        (server, "eth0", "192.0.2.1/24", "2001:db8::1/64"),
        (outside, "eth0", "192.0.2.9/24", "2001:db8::9/64"),
    ):
        host.ip("link", "set", interface, "up")
        host.ip("addr", "add", ipv4, "dev", interface)
        host.ip("addr", "add", ipv6, "dev", interface, "nodad")
    client.ip("route", "add", "default", "via", "10.9.0.1")
    client.ip("-6", "route", "add", "default", "via", "fd00::1")
    server.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    return client, server, outside


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 5001), 5).recv(1)"


def answered(client: Namespace, address: str) -> bool:
    return " 0% packet loss" in client.run("ping", "-n", "-c1", "-W1", address, check=False)


@pytest.mark.netns
def test_clients_reach_the_outside_by_the_servers_address(net: Net) -> None:
    client, server, _ = road(net)
    assert not answered(client, "192.0.2.9")
    inside(server, nat.apply, "tun0", (POOL, POOL6))
    inside(server, nat.apply, "tun0", (POOL, POOL6))
    assert answered(client, "192.0.2.9")
    assert answered(client, "2001:db8::9")
    assert server.run("nft", "list", "ruleset").count("masquerade") == 2


@pytest.mark.netns
@pytest.mark.parametrize(("host", "mss"), [("192.0.2.9", 1280 - 40), ("2001:db8::9", 1280 - 60)])
def test_tcp_segments_fit_the_tunnel(net: Net, host: str, mss: int) -> None:
    client, server, outside = road(net)
    server.ip("link", "set", "tun0", "mtu", "1280")
    inside(server, nat.apply, "tun0", (POOL, POOL6))

    def accept() -> int:
        """The segment size that the outside host learned from the client's SYN."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 5001), family=family) as listener:
            listener.settimeout(5)
            with client.popen(sys.executable, "-c", CONNECT, host), listener.accept()[0] as accepted:
                return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    assert mss - 12 <= inside(outside, accept) <= mss  # 12: the time stamp option


@pytest.mark.netns
def test_without_pools_nothing_of_ours_is_left_and_foreign_tables_stay(net: Net) -> None:
    server = net.namespace("server")
    server.run("nft", "add table inet mqvpn_tun1; add table inet filter; add chain inet filter input")
    before = snapshot(server.name)
    inside(server, nat.apply, "tun0", (POOL,))
    assert difference(before, snapshot(server.name))
    inside(server, nat.remove, nat.table_of("tun0"))
    inside(server, nat.remove, nat.table_of("tun0"))
    assert difference(before, snapshot(server.name)) == []
