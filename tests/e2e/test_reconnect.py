"""A server that dies and comes back: its clients notice, and come back by themselves with their addresses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.test_links import on_own_etc
from tests.lab.nameserver import command
from tests.lab.net import Net, program
from tests.lab.site import SERVER_ADDRESSES, build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import (
    INNER,
    PORT,
    Daemon,
    Sections,
    client_daemon,
    inner_addresses,
    server_daemon,
    write_config,
)
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns


def test_a_killed_server_is_back_within_seconds(net: Net) -> None:
    site = build_site(net, [None, None])
    with server_daemon(site) as first, client_daemon(site) as client:
        everywhere = set(site.uplinks)
        client.wait_for("a path on every uplink", lambda: client.active_uplinks() == everywhere)
        addresses = inner_addresses(site.client, "mqc0")
        first.process.kill()
        first.process.wait()
        with server_daemon(site):
            started = time.monotonic()
            client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
            assert time.monotonic() - started < 5
            client.wait_for("a path on every uplink", lambda: client.active_uplinks() == everywhere)
            assert inner_addresses(site.client, "mqc0") == addresses


def test_routes_and_device_stay_while_the_server_is_away(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site) as first, client_daemon(site) as client:
        show = ("ip", "route", "show", "table", "28017")
        client.wait_for("the default route", lambda: "mqc0" in site.client.run(*show, check=False))
        before = site.client.run(*show)
        first.stop()
        client.wait_for("the loss is noticed", lambda: client.stats().get("state") not in (None, "up"))
        assert site.client.run(*show) == before
        assert inner_addresses(site.client, "mqc0")


@pytest.mark.pace
def test_stops_at_once_while_nobody_answers(net: Net) -> None:
    site = build_site(net, [None])
    config = write_config(
        net.directory / "client.conf",
        {
            "Interface": {"TunName": "mqc0"},
            "Server": {"Address": "198.51.100.1:4433"},
            "Auth": {"Key": "k"},
            "Multipath": {"Path": site.uplinks},
        },
    )
    before = snapshot(site.client.name)
    client = Daemon(net, site.client, "client", "client", config)
    client.wait_for("an attempt", lambda: client.stats().get("state") == "connecting")
    started = time.monotonic()
    assert client.stop() == 0
    assert time.monotonic() - started < 2
    assert difference(before, snapshot(site.client.name)) == []


@pytest.mark.long
def test_a_server_that_moved_is_found_by_its_name(tmp_path: Path) -> None:
    """The machine's name server is not in its LAN, and our routes lead there into the tunnel, which is down."""

    def body(net: Net) -> None:
        site = build_site(net, [None])
        old, new = (f"{address}:{PORT}" for address in SERVER_ADDRESSES[:2])
        changes: Sections = {"Server": {"Address": f"vpn.example:{PORT}"}, "Interface": {"ReconnectInterval": 1}}
        log = net.log("nameserver.log")
        with program(site.server, *command(SERVER_ADDRESSES[1], SERVER_ADDRESSES[0]), log=log):
            up = net.enter(server_daemon(site, {"Interface": {"Listen": old}}))
            client = net.enter(client_daemon(site, changes))
            assert ping(site.client, INNER).received == 3
            client.wait_for("figures of it", lambda: client.stats()["server"]["address"] == old)
        with program(site.server, *command(SERVER_ADDRESSES[1], SERVER_ADDRESSES[1]), log=log):
            up.stop()
            with server_daemon(site, {"Interface": {"Listen": new}}):
                started = time.monotonic()
                client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
                print(f"an echo after {time.monotonic() - started:.2f} s")
                client.wait_for("figures of it", lambda: client.stats()["server"]["address"] == new)
                assert client.stop() == 0

    on_own_etc(tmp_path, body)
