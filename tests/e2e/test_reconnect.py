"""A server that dies and comes back: its clients notice, and come back by themselves with their addresses."""

from __future__ import annotations

import time

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, client_daemon, inner_addresses, server_daemon

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
        before = site.client.ip("route", "show", "table", "28017")
        assert "mqc0" in before
        first.stop()
        client.wait_for("the loss is noticed", lambda: client.stats().get("state") != "up")
        assert site.client.ip("route", "show", "table", "28017") == before
        assert inner_addresses(site.client, "mqc0")
