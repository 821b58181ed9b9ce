"""F25: two clients on one machine do not disturb one another, whichever ends first and however."""

from __future__ import annotations

import pytest

from tests.lab.net import Net, wait_for
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, client_daemon, server_daemon
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SECOND = {"Interface": {"TunName": "mqc1"}}


def test_the_second_client_leaves_the_first_ones_routes_alone(net: Net) -> None:
    site = build_site(net, [None, None])
    before = snapshot(site.client.name)
    with server_daemon(site), client_daemon(site) as first:
        first.wait_for("a path on every uplink", lambda: len(first.active_uplinks()) == 2)
        alone = snapshot(site.client.name)
        with client_daemon(site, SECOND, name="second") as second:
            assert "dev mqc0" in site.client.ip("route", "get", "192.0.2.1")
            assert ping(site.client, INNER, count=1).received == 1
            assert second.stop() == 0
        assert difference(alone, snapshot(site.client.name)) == []
        with client_daemon(site, SECOND, name="second") as second:
            assert first.stop() == 0
            assert "dev mqc1" in site.client.ip("route", "get", "192.0.2.1")
            assert ping(site.client, INNER, count=1).received == 1
            assert second.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_one_that_was_killed_takes_its_own_place_over(net: Net) -> None:
    """Both are killed; the second starts again first, and each has its own routes again."""
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    with server_daemon(site):
        with client_daemon(site) as first, client_daemon(site, SECOND, name="second") as second:
            wait_for("the routes of both", lambda: site.client.ip("rule").count("not from all") == 2)
            both = (site.client.ip("rule"), site.client.ip("route", "show", "table", "28018"))
            for daemon in (first, second):
                daemon.process.kill()
                daemon.process.wait()
        with client_daemon(site, SECOND, name="second") as second, client_daemon(site) as first:
            want = "the same routes and rules"
            wait_for(want, lambda: (site.client.ip("rule"), site.client.ip("route", "show", "table", "28018")) == both)
            assert [first.stop(), second.stop()] == [0, 0]
    assert difference(before, snapshot(site.client.name)) == []
