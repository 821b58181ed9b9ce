"""F22: no file descriptor is left (RLIMIT_NOFILE). What runs goes on, the rest waits, and no restart is needed."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_control import call
from tests.e2e.test_dns import RESOLV_CONF, on_own_etc
from tests.e2e.test_links import paths
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import INNER, Daemon, client_config, client_daemon, server_daemon, tunnel

pytestmark = pytest.mark.netns

HELD = 40  # connections; 16 are served at once


@contextlib.contextmanager
def descriptors(daemon: Daemon, most: int) -> Iterator[None]:
    """The daemon may have no descriptor of this number or above; those that it has stay."""
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)


def used(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


@contextlib.contextmanager
def connections(daemon: Daemon) -> Iterator[None]:
    """More than it accepts, all silent."""
    with contextlib.ExitStack() as stack:
        for _ in range(HELD):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.connect(str(daemon.control_socket))
        yield


@pytest.mark.parametrize("most", [pytest.param(64, marks=pytest.mark.long), 32])
def test_callers_wait_and_tunnels_go_on(net: Net, most: int) -> None:
    """A flood of callers at either end; meanwhile another client gets a tunnel."""
    with tunnel(build_site(net, [None])) as t, descriptors(t.server, most), descriptors(t.client, most):
        with Stream(t.site.client, t.site.server, INNER) as stream, connections(t.server), connections(t.client):
            time.sleep(1)
            print(f"{used(t.server)} and {used(t.client)} descriptors of {most} in use")
            changes = {"Interface": {"TunName": "mqc1", "ManageRoutes": "false"}}
            with client_daemon(t.site, changes, name="second"):
                time.sleep(2)
        assert stream.result.longest_gap < 0.5
        assert stream.result.lost == 0
        for daemon in (t.server, t.client):
            assert daemon.log.read_text().count("connections have to wait") == (1 if most == 32 else 0)
            assert "parameters" in call(daemon, "Status")
            assert used(daemon) < most - 1
        assert ping(t.site.client, INNER).received == 3


def test_a_link_that_came_back_meanwhile_is_used_when_there_are_descriptors(net: Net) -> None:
    """Its interface is another one, with which its socket has to be opened anew."""
    site = build_site(net, [None, None])
    with tunnel(site, client={"Interface": {"KillSwitch": "true"}}) as t:
        with descriptors(t.client, 3):
            site.server.unchanged.but_interfaces("dn1")
            site.client.ip("link", "del", "up1")
            net.veth(site.client, "up1", site.server, "dn1")
            site.server.ip("addr", "add", "10.1.1.1/24", "dev", "dn1")
            site.server.ip("link", "set", "dn1", "up")
            site.set_uplink(1, up=True)
            # Refused where the client owns the table.
            site.client.run("nft", "delete", "table", "inet", "mqvpn_block_mqc0", check=False)
            time.sleep(2)
            assert "up1: open a UDP socket on up1: Too many open files" in t.client.log.read_text()
            assert ping(site.client, INNER).received == 3
            assert t.client.log.read_text().count("Too many open files") <= 12
        started = time.monotonic()
        net.log("client.json").unlink()
        t.client.wait_for("the path is back", lambda: paths(t.client, "up1"))
        tables = site.client.run("nft", "list", "tables")
        print(f"used {time.monotonic() - started:.2f} s after there were descriptors")
        assert "mqvpn_block" in tables
        assert "Traceback" not in t.client.log.read_text()


def test_a_start_and_a_reconnect_wait_for_descriptors(tmp_path: Path) -> None:
    """What comes up behind the handshake needs some: addresses, kill switch, routes, their journal, DNS; and so did the
    pause between two attempts. One line says what is waited for."""

    def body(net: Net, site: Site) -> None:
        config = client_config(site, {"Interface": {"DNS": INNER, "KillSwitch": "true", "ReconnectInterval": 1}})
        client = Daemon(net, site.client, "client", "client", config)
        client.wait_for("an attempt", lambda: client.stats().get("state") == "connecting")
        with server_daemon(site) as server:
            with descriptors(client, 3):
                client.wait_for("a tunnel", lambda: "tunnel up" in client.log.read_text())
                time.sleep(2)
            client.wait_for("its DNS is set", lambda: f"nameserver {INNER}\n" in RESOLV_CONF.read_text())
            client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
            assert client.log.read_text().count("has to wait for a free file descriptor") == 1, client.tail()
            assert client.log.read_text().count("there are file descriptors again") == 1
            server.process.kill()
            server.process.wait()
            with descriptors(client, 3), server_daemon(site):
                client.wait_for("another tunnel", lambda: client.log.read_text().count("tunnel up") == 2)
                client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
        assert client.stop() == 0
        assert "Traceback" not in client.log.read_text()

    on_own_etc(tmp_path, body)
