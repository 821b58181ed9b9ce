"""--clean-up after a death: from the journal alone, whatever the configuration says by then, and twice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab.net import ROOT, LabError, Namespace, Net
from tests.lab.site import build_site
from tests.lab.tunnel import Daemon, client_daemon, server_daemon
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SHUT = {"Interface": {"KillSwitch": "true"}}


def clean_up(daemon: Daemon, *, config: str = "broken.conf") -> subprocess.CompletedProcess[str]:
    """As ExecStopPost= would, with a configuration that cannot be read."""
    directory = daemon.control_socket.parent
    (directory / config).write_text("[Interface\nnonsense")
    argv = (sys.executable, "-m", "mqvpn.cli.main", "--config", str(directory / config), "--clean-up")
    environment = os.environ | {"RUNTIME_DIRECTORY": str(directory)}
    command = ("ip", "netns", "exec", daemon.namespace.name, *argv)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)


def kill(daemon: Daemon) -> None:
    daemon.process.kill()
    daemon.process.wait()


def tables(namespace: Namespace) -> list[str]:
    return [line.split()[2] for line in namespace.run("nft", "list", "tables").splitlines()]


def test_what_was_done_is_undone_without_a_valid_configuration(net: Net) -> None:
    site = build_site(net, [None, None])
    for uplink in site.uplinks:
        site.client.run("sysctl", "-qw", f"net.ipv4.conf.{uplink}.rp_filter=1")
    before = [snapshot(site.client.name), snapshot(site.server.name)]
    with server_daemon(site) as server, client_daemon(site, SHUT) as client:
        for daemon, was in ((client, before[0]), (server, before[1])):
            running = clean_up(daemon)
            assert running.returncode == 1
            assert "this daemon runs, so nothing is undone" in running.stderr
            assert difference(was, snapshot(daemon.namespace.name))
            kill(daemon)
            for _ in range(2):
                assert clean_up(daemon).returncode == 0
                assert difference(was, snapshot(daemon.namespace.name)) == []
        assert not (client.control_socket.parent / "undo.json").exists()


def test_what_others_changed_meanwhile_is_theirs(net: Net) -> None:
    """Routes and rules of others in our table and at our priority, a kernel setting, a table of the firewall."""
    site = build_site(net, [None])
    site.client.run("sysctl", "-qw", "net.ipv4.conf.up0.rp_filter=1")
    with server_daemon(site), client_daemon(site) as client:
        client.wait_for("the tunnel", lambda: "tunnel up" in client.log.read_text())
        assert site.client.run("sysctl", "-n", "net.ipv4.conf.up0.rp_filter") == "2\n"
        site.client.unchanged.but("up0.rp_filter: 1 -> 0", r'"192.0.2.0/24"', '"priority": 28017')
        site.client.run("sysctl", "-qw", "net.ipv4.conf.up0.rp_filter=0")
        site.client.ip("route", "add", "192.0.2.0/24", "dev", "up0", "table", "28017", "proto", "static")
        site.client.ip("rule", "add", "priority", "28017", "fwmark", "7", "lookup", "main")
        site.client.ip("rule", "delete", "priority", "28016")
        site.client.run("nft", "add", "table", "inet", "mqvpn_theirs")
        kill(client)
        assert clean_up(client).returncode == 0
    assert site.client.run("sysctl", "-n", "net.ipv4.conf.up0.rp_filter") == "0\n"
    assert "192.0.2.0/24" in site.client.ip("route", "show", "table", "28017")
    assert [line.split()[0] for line in site.client.ip("rule").splitlines()] == ["0:", "28017:", "32766:", "32767:"]
    assert "mqvpn_theirs" in site.client.run("nft", "list", "tables")
    site.client.run("nft", "delete", "table", "inet", "mqvpn_theirs")


def test_a_successor_drops_what_it_does_not_want_any_more(net: Net) -> None:
    site = build_site(net, [None])
    before = [snapshot(site.client.name), snapshot(site.server.name)]
    with server_daemon(site) as server:
        with client_daemon(site) as client:
            client.wait_for("the tunnel", lambda: "tunnel up" in client.log.read_text())
            kill(client)
        with client_daemon(site, {"Interface": {"ManageRoutes": "false"}}) as client:
            assert site.client.ip("rule").count("28017") == 0
            assert client.stop() == 0
        kill(server)
    with server_daemon(site, {"Interface": {"TunName": "mqs1"}}) as server:
        server.wait_for("its own table alone", lambda: tables(site.server) == ["mqvpn_mqs1"])
        assert server.stop() == 0
    assert difference(before[0], snapshot(site.client.name)) == []
    assert difference(before[1], snapshot(site.server.name)) == []


@pytest.mark.parametrize(("key", "status"), [("not-the-right-key", 77), (None, 78)])
def test_unblock_after_a_final_failure(net: Net, key: str | None, status: int) -> None:
    """77: refused credentials. 78: a restart that meets a broken configuration, with the block of its former life."""
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    changes = dict(SHUT)
    with server_daemon(site):
        if key is None:
            with client_daemon(site, SHUT) as client:
                kill(client)
            changes |= {"Server": {"Insecure": "false", "CA": "/nonexistent"}}
        else:
            changes |= {"Auth": {"Key": key}}
        with pytest.raises(Exception, match=f"ended with status {status}"), client_daemon(site, changes):
            pass
    assert "mqvpn_block_mqc0" in site.client.run("nft", "list", "tables")
    assert "1 received" not in site.client.run("ping", "-c1", "-W1", "10.1.0.1", check=False)
    unblock = (sys.executable, "-m", "mqvpn.cli.ctl", "unblock", "mqc0")
    assert site.client.run(*unblock) == "lifted: mqvpn_block_mqc0\n"
    assert site.client.run(*unblock) == "nothing is blocked\n"
    assert "mqvpn_block" not in site.client.run("nft", "list", "tables")
    if status == 77:  # the other one has left its routes for a successor
        assert difference(before, snapshot(site.client.name)) == []


def test_a_second_client_of_the_same_name_is_refused(net: Net) -> None:
    """F25: it ends with status 78, and the first one goes on untouched."""
    site = build_site(net, [None])
    with server_daemon(site), client_daemon(site) as first:
        first.wait_for("its routes, too", lambda: "tunnel up" in first.log.read_text())
        running = snapshot(site.client.name)
        second = Daemon(net, site.client, "client", "client", net.directory / "client.conf")
        assert second.process.wait(20) == 78
        assert "another mqvpn mqc0 runs" in second.log.read_text()
        assert difference(running, snapshot(site.client.name)) == []
        assert first.process.poll() is None
        assert first.stop() == 0


def test_where_nothing_can_be_noted_nothing_is_changed(net: Net) -> None:
    """F14: status 74, and the reason."""
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    state = net.directory / "client.state"
    state.mkdir()
    (state / "undo.json").mkdir()  # as good as a full disk for what is to be written there
    with server_daemon(site):
        with pytest.raises(LabError, match="ended with status 74"), client_daemon(site, SHUT):
            pass
        assert "what is to be undone" in net.log("client.log").read_text()
    assert difference(before, snapshot(site.client.name)) == []


@pytest.mark.parametrize("died", [False, True], ids=["stop", "death"])
def test_a_tun_that_others_made_is_given_back_as_it_was(net: Net, died: bool) -> None:
    """Its MTU, queue, addresses and state, though it is persistent and outlives the daemon. It was up once,
    which alone has the kernel give it a queue."""
    site = build_site(net, [None])
    for namespace, name in ((site.client, "mqc0"), (site.server, "mqs0")):
        namespace.ip("tuntap", "add", name, "mode", "tun")
        namespace.ip("link", "set", name, "mtu", "1300", "txqueuelen", "77", "up")
        namespace.ip("link", "set", name, "down")
        namespace.ip("addr", "add", "192.0.2.77/24", "dev", name)
    before = [snapshot(site.client.name), snapshot(site.server.name)]
    with server_daemon(site) as server, client_daemon(site) as client:
        assert "192.0.2.77" not in site.client.ip("addr", "show", "dev", "mqc0")
        for daemon, was in ((client, before[0]), (server, before[1])):
            if died:
                kill(daemon)
                assert clean_up(daemon).returncode == 0
            else:
                assert daemon.stop() == 0
            assert difference(was, snapshot(daemon.namespace.name)) == []
