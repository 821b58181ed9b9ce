"""Several servers in order of preference: the next is asked when one gives no tunnel, and kept; and refused keys."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.lab.net import ROOT, Net, stop, wait_for
from tests.lab.site import SERVER_ADDRESSES, build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import (
    INNER,
    PORT,
    Daemon,
    Sections,
    client_daemon,
    server_daemon,
    write_certificate,
    write_config,
)

pytestmark = pytest.mark.netns

DEAD, GOOD = f"192.0.2.99:{PORT}", f"{SERVER_ADDRESSES[0]}:{PORT}"


def test_the_next_server_is_asked_and_kept(net: Net) -> None:
    site = build_site(net, [None])
    changes: Sections = {"Server": {"Address": (DEAD, GOOD)}}
    with server_daemon(site) as first:
        started = time.monotonic()
        with client_daemon(site, changes) as client:
            took = time.monotonic() - started
            print(f"up by the second server after {took:.1f} s, with the start of the program")
            assert took < 8  # more than 10 s if they were asked one after the other
            assert ping(site.client, INNER).received == 3
            told = client.wait_for("the figures of it", lambda: client.stats() if client.stats().get("up") else None)
            assert [(server["name"], server["current"]) for server in told["servers"]] == [(DEAD, False), (GOOD, True)]
            assert told["servers"][0]["failure"] == f"no answer when {GOOD} had answered"
            assert told["server"]["name"] == GOOD
            shown = status_of(client)
            assert re.search(rf"^  {DEAD} +failed: no answer when {GOOD} had answered$", shown, re.M), shown
            assert re.search(rf"^  {GOOD} +in use$", shown, re.M), shown
            first.process.kill()
            first.process.wait()
            with server_daemon(site):
                restarted = time.monotonic()
                client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
                assert time.monotonic() - restarted < 6  # the dead one is not asked first


@pytest.mark.pace
def test_a_server_that_completes_the_handshake_and_says_nothing_costs_seconds(net: Net) -> None:
    site = build_site(net, [None])
    silent, port = f"{SERVER_ADDRESSES[1]}:{PORT + 1}", str(PORT + 1)
    with server_daemon(site):
        certificate, key = map(str, write_certificate(net.directory))
        argv = (sys.executable, "-m", "tests.lab.silent", SERVER_ADDRESSES[1], port, certificate, key)
        process = site.server.popen(*argv)
        wait_for("it listens", lambda: f":{port} " in site.server.run("ss", "-Hlnu"))
        started = time.monotonic()
        with client_daemon(site, {"Server": {"Address": (silent, GOOD)}}) as client:
            took = time.monotonic() - started
        stop(process)
        print(f"up by the second server after {took:.1f} s, with the start of the program")
        assert f"{silent}: no answer to the tunnel request; the next server is {GOOD}" in client.log.read_text()
        assert 3 < took < 7


def status_of(client: Daemon) -> str:
    """What mqvpnctl shows."""
    command = (sys.executable, "-m", "mqvpn.cli.ctl", "status", "--socket", str(client.control_socket))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout


def refused(net: Net, **interface: str) -> Daemon:
    """A client whose key the server does not know."""
    site = build_site(net, [None])
    server = net.enter(server_daemon(site))
    config = write_config(
        net.directory / "client.conf",
        {
            "Interface": {"TunName": "mqc0", "ReconnectInterval": "1", **interface},
            "Server": {"Address": (GOOD, f"{SERVER_ADDRESSES[1]}:{PORT}"), "Insecure": "true"},
            "Auth": {"Key": "wrong"},
        },
    )
    assert server.process.poll() is None
    return Daemon(net, site.client, "client", "client", config)


def test_a_key_that_every_server_refuses_ends_the_client(net: Net) -> None:
    client = refused(net)
    assert client.process.wait(15) == 77
    assert "the next server is" in client.log.read_text()


def test_reconnect_always_asks_again(net: Net) -> None:
    client = refused(net, Reconnect="always")
    client.wait_for("several refusals", lambda: client.stats().get("attempts", 0) >= 4)
    assert client.stats()["last_close"]["cause"] == "refused"
    assert client.stop() == 0
