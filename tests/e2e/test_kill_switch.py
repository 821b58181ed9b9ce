"""With KillSwitch nothing leaves but by the tunnel, whoever dies: judged by a capture on every uplink."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.capture import Capture
from tests.lab.links import Shape
from tests.lab.nameserver import name_server
from tests.lab.net import LabError, Namespace, Net, wait_for
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, Site, build_site, network_behind
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, PORT, Daemon, client_daemon, inner_addresses, server_daemon
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SHUT = {"Interface": {"KillSwitch": "true"}}
SERVER = (SERVER_ADDRESSES[0], PORT)
CHATTER = """
import itertools, socket, time
v4, v6 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for n in itertools.count():
    for udp, where in ((v4, "203.0.113.9"), (v4, "10.1.0.1"), (v6, "2001:db8:9::9"), (v6, "2001:db8:1:0::1")):
        for port in (53, 4433, 1024 + n % 60000):
            try: udp.sendto(b"x", (where, port))
            except OSError: pass
    if n == 0: print("ready", flush=True)
    time.sleep(0.002)
"""


@contextlib.contextmanager
def chatter(namespace: Namespace) -> Iterator[None]:
    """A program that sends all the time: to the world and to its neighbours, in both families."""
    process = namespace.popen(sys.executable, "-S", "-c", CHATTER, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def blocked(site: Site) -> bool:
    return "mqvpn_block_mqc0" in site.client.run("nft", "list", "tables")


def is_up(site: Site) -> bool:
    """Whether the tunnel carries packets, with routes into it or without."""
    echo = ("ping", "-n", "-c1", "-W1", "-I", "mqc0", INNER)
    return inner_addresses(site.client, "mqc0") is not None and "1 received" in site.client.run(*echo, check=False)


@pytest.mark.pace
@pytest.mark.parametrize("routes", ["true", "false"])
def test_nothing_leaks_from_start_to_stop(net: Net, routes: str) -> None:
    """A path fails, the server dies and comes back, the client is killed, the firewall is flushed (where our routes
    are the second wall), the next client takes over."""
    site = build_site(net, [None, None])
    before = snapshot(site.client.name)
    changes = {"Interface": {"KillSwitch": "true", "ManageRoutes": routes}}
    with contextlib.ExitStack() as watched:
        capture = watched.enter_context(Capture(site.client, site.uplinks))
        with server_daemon(site) as server, client_daemon(site, changes) as client, chatter(site.client):
            client.wait_for("an echo through the tunnel", lambda: is_up(site))
            site.set_uplink(0, up=False)
            time.sleep(0.5)
            site.set_uplink(0, up=True)
            server.process.kill()
            server.process.wait()
            if routes == "true":
                site.client.run("nft", "flush", "ruleset")
                wait_for("the block is back", lambda: blocked(site), timeout=1)
            client.process.kill()
            client.process.wait()
            time.sleep(0.5)
            assert blocked(site)
            with server_daemon(site), client_daemon(site, changes) as successor:
                successor.wait_for("an echo through the tunnel", lambda: is_up(site))
                assert blocked(site)
                watched.close()  # what leaves once the user has stopped the client is no leak
                assert successor.stop() == 0
    assert capture.leaks([SERVER]) == []
    assert sorted({(p.destination, p.dport) for p in capture.packets if p.dport == PORT}) == [SERVER]
    assert difference(before, snapshot(site.client.name)) == []


def reloads(client: Daemon) -> bool:
    return "configuration reloaded" in client.log.read_text()


@pytest.mark.parametrize("routes", ["true", "false"])
def test_nothing_leaks_of_a_router_and_the_network_behind_it(net: Net, routes: str) -> None:
    """Own and forwarded packets, while all links are silent, settings are loaded anew, the TUN device and the firewall
    are deleted, the server is away, and one client follows another."""
    site = build_site(net, [Shape(rate=50, delay=5), Shape(rate=50, delay=5)])
    lan = network_behind(site)
    with Capture(site.client, site.uplinks) as before, chatter(lan):
        time.sleep(0.3)
    assert {"192.168.7.2", "2001:db8:7::2"} <= {packet.source for packet in before.leaks()}
    changes = {"Interface": {"KillSwitch": "true", "ManageRoutes": routes}}
    with contextlib.ExitStack() as watched, server_daemon(site) as server, client_daemon(site, changes) as client:
        client.wait_for("an echo through the tunnel", lambda: is_up(site))
        capture = watched.enter_context(Capture(site.client, site.uplinks))
        watched.enter_context(chatter(site.client))
        watched.enter_context(chatter(lan))
        for blackhole in (True, False):
            site.set_link(0, blackhole=blackhole)
            site.set_link(1, blackhole=blackhole)
            time.sleep(2)
        config = net.directory / "client.conf"
        config.write_text(config.read_text().replace("[Server]", f"Exclude = {SERVER_ADDRESSES[1]}/32\n[Server]"))
        client.process.send_signal(signal.SIGHUP)
        client.wait_for("the reload", lambda: reloads(client))
        site.client.ip("link", "delete", "mqc0")
        client.wait_for("an echo through another device", lambda: is_up(site))
        if routes == "true":  # the second wall
            site.client.run("nft", "flush", "ruleset")
        server.process.kill()
        server.process.wait()
        time.sleep(1)
        with server_daemon(site):
            client.wait_for("an echo through another tunnel", lambda: is_up(site))
            client.process.kill()
            client.process.wait()
            time.sleep(0.5)
            with client_daemon(site, changes) as successor:
                successor.wait_for("an echo through its tunnel", lambda: is_up(site))
                watched.close()
    assert capture.leaks([SERVER]) == []
    assert {packet.interface for packet in capture.packets} == set(site.uplinks)


def test_nobody_is_locked_out_by_a_final_failure(net: Net) -> None:
    """Refused credentials end the client for good; the block stays until the user says so."""
    site = build_site(net, [None])
    wrong = {**SHUT, "Auth": {"Key": "not-the-right-key"}}
    with server_daemon(site), pytest.raises(LabError, match="ended with status 77"), client_daemon(site, wrong):
        pass
    assert blocked(site)
    assert ping(site.client, "10.1.0.1", count=1).received == 0
    unblock = (sys.executable, "-m", "mqvpn.cli.ctl", "unblock")
    assert "mqvpn_block_mqc0" in site.client.run(*unblock)
    assert not blocked(site)
    assert ping(site.client, "10.1.0.1", count=1).received == 1


def test_a_run_without_it_lifts_what_an_earlier_one_left(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site):
        with client_daemon(site, SHUT) as daemon:
            daemon.process.kill()
            daemon.process.wait()
        assert blocked(site)
        with client_daemon(site):
            assert not blocked(site)


def test_local_networks_are_reached_if_asked_for_but_their_name_servers_are_not(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site), client_daemon(site, {"Interface": {"KillSwitch": "true", "AllowLan": "true"}}) as daemon:
        daemon.wait_for("an echo through the tunnel", lambda: is_up(site))
        assert ping(site.client, "10.1.0.1").received == 3
        with Capture(site.client, site.uplinks) as capture, chatter(site.client):
            time.sleep(0.3)
    assert {p.destination for p in capture.leaks([SERVER])} == {"10.1.0.1"}
    assert 53 not in {p.dport for p in capture.leaks([SERVER])}


def test_the_name_of_the_server_is_found_behind_the_block(net: Net) -> None:
    """Asked for by a marked query to the machine's own name server, which nobody else can reach."""
    site = build_site(net, [None])
    folder = Path("/etc/netns", site.client.name)  # ip-netns(8): what is in it stands in for /etc there
    folder.mkdir(parents=True)
    net.callback(lambda: shutil.rmtree(folder))
    (folder / "resolv.conf").write_text("nameserver 10.1.0.1\n")
    named = {**SHUT, "Server": {"Address": f"vpn.example:{PORT}"}}
    with (
        server_daemon(site),
        name_server(site.server, "plain", SERVER_ADDRESSES[0], SERVER_ADDRESSES_6[0]),
        Capture(site.client, site.uplinks) as capture,
        client_daemon(site, named) as daemon,
        chatter(site.client),
    ):
        daemon.wait_for("an echo through the tunnel", lambda: is_up(site))
    assert {(p.destination, p.dport) for p in capture.leaks([SERVER, (SERVER_ADDRESSES_6[0], PORT)])} == {
        ("10.1.0.1", 53)
    }
