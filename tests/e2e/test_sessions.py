"""Sessions that survive the death of either end: the inner addresses stay, and so do the TCP streams on them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Transfer, ping
from tests.lab.tunnel import INNER, KEY, Daemon, Sections, client_daemon, inner_addresses, server_daemon

pytestmark = [pytest.mark.netns, pytest.mark.pace]

USER: Sections = {"Auth": {"User": f"alice:{KEY}", "MaxClients": 1}}
SECONDS = 14
FAULT = 2  # seconds after the stream began


class TcpStream:
    """A TCP stream through a fault. Its sender waits ever longer between two attempts, twice as long each time."""

    def __init__(self, site: Site, *, upload: bool, client_address: str) -> None:
        ends = (site.client, site.server, INNER) if upload else (site.server, site.client, client_address)
        self._transfer = Transfer(*ends, seconds=SECONDS, interval=0.1).start()
        time.sleep(FAULT)

    def silence(self) -> tuple[float, float]:
        """Seconds of the clock when bytes arrived for the last time before the fault, and then again."""
        intervals = self._transfer.result().intervals
        silent = next(i for i in intervals if i.start > FAULT - 0.5 and not i.bytes)
        again = next((i for i in intervals if i.start > silent.start and i.bytes), None)
        assert again is not None, "the stream did not go on"
        return self._transfer.started + silent.start, self._transfer.started + again.start + again.seconds


def kill(daemon: Daemon) -> None:
    daemon.process.kill()
    daemon.process.wait()


def echo(client: Daemon) -> Callable[[], Any]:
    """Whether a packet passes both ways."""
    return lambda: ping(client.namespace, INNER, count=1).received


@pytest.mark.parametrize(
    ("end", "upload", "allowed"),
    [
        (kill, True, 2),
        pytest.param(kill, False, 2, marks=pytest.mark.long),
        pytest.param(Daemon.stop, True, 3, marks=pytest.mark.long),
    ],
    ids=["SIGKILL, upload", "SIGKILL, download", "SIGTERM, upload"],
)
def test_a_stream_survives_a_restarted_server(
    net: Net, end: Callable[[Daemon], Any], upload: bool, allowed: float
) -> None:
    site = build_site(net, [None, None])
    with server_daemon(site, USER) as first, client_daemon(site) as client:
        client.wait_for("the tunnel", echo(client))
        addresses = inner_addresses(site.client, "mqc0")
        assert addresses is not None
        stream = TcpStream(site, upload=upload, client_address=addresses[0])
        end(first)
        with server_daemon(site, USER):
            listening = time.monotonic()
            client.wait_for("the tunnel again", lambda: client.log.read_text().count("tunnel up") == 2)
            reconnected = time.monotonic()
            since, until = stream.silence()
            assert inner_addresses(site.client, "mqc0") == addresses
    print(f"server away {listening - since:.2f} s, tunnel back {reconnected - listening:.2f} s later")
    print(f"TCP went on {until - reconnected:.2f} s after that")
    assert reconnected - listening < allowed
    assert until - reconnected < reconnected - since + 0.5


def test_a_stream_survives_a_killed_client(net: Net) -> None:
    site = build_site(net, [None, None])
    with server_daemon(site, USER) as server, client_daemon(site) as first:
        first.wait_for("the tunnel", echo(first))
        addresses = inner_addresses(site.client, "mqc0")
        assert addresses is not None
        stream = TcpStream(site, upload=False, client_address=addresses[0])
        kill(first)
        with client_daemon(site):
            reconnected = time.monotonic()
            assert inner_addresses(site.client, "mqc0") == addresses
            since, until = stream.silence()
    print(f"client away {reconnected - since:.2f} s, TCP went on {until - reconnected:.2f} s later")
    assert until - reconnected < reconnected - since + 0.5
    assert "a newer session of this instance took its place" in server.log.read_text()


@pytest.mark.slow
def test_an_idle_client_is_back_at_its_next_keep_alive(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site) as first, client_daemon(site) as client:
        client.wait_for("the tunnel", echo(client))
        addresses = inner_addresses(site.client, "mqc0")
        kill(first)
        with server_daemon(site):
            client.wait_for("the tunnel again", lambda: client.log.read_text().count("tunnel up") == 2, timeout=20)
            assert inner_addresses(site.client, "mqc0") == addresses
    assert "the server was started anew" in client.log.read_text()


def test_a_shared_key_and_a_lost_lease_file(net: Net) -> None:
    """Only the client knows what it had."""
    site = build_site(net, [None])
    other: Sections = {"Interface": {"TunName": "mqc1", "ManageRoutes": "false"}}
    with server_daemon(site), client_daemon(site, other, name="other") as first, client_daemon(site) as client:
        addresses = inner_addresses(site.client, "mqc0")
        first.stop()
        client.stop()
    (net.directory / "server.state" / "leases.json").unlink()
    with server_daemon(site), client_daemon(site):
        assert inner_addresses(site.client, "mqc0") == addresses


def test_a_copied_state_directory(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site) as server, client_daemon(site) as first:
        first.wait_for("the tunnel", echo(first))
        addresses = inner_addresses(site.client, "mqc0")
        (net.directory / "copy.state").mkdir()
        shutil.copy(net.directory / "client.state" / "client.json", net.directory / "copy.state")
        changes: Sections = {"Interface": {"TunName": "mqc1", "ManageRoutes": "false"}}
        with client_daemon(site, changes, name="copy") as copy:
            assert inner_addresses(site.client, "mqc1") == addresses
            first.wait_for("the first one says so", lambda: "may be a copy of ours" in first.log.read_text())
            time.sleep(3)
            assert copy.stats()["state"] == "up"
            assert len(server.stats()["clients"]) == 1
    instances = {
        json.loads((net.directory / name / "client.json").read_text())["instance"]
        for name in ("client.state", "copy.state")
    }
    assert len(instances) == 2
