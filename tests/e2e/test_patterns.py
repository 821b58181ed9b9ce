"""Path = auto and patterns: uplinks that appear while the tunnel is up are used, and those that go are forgotten."""

from __future__ import annotations

import time

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.tunnel import client_daemon, server_daemon

pytestmark = pytest.mark.netns


@pytest.mark.pace
@pytest.mark.parametrize("path", ["auto", "up*", "up*; role=backup"])
def test_an_uplink_that_appears_later_is_used(net: Net, path: str) -> None:
    site = build_site(net, [None, None])
    site.client.unchanged.but_interfaces("up1", "later")
    site.server.unchanged.but_interfaces("dn1")
    site.client.ip("link", "set", "up1", "down")
    site.client.ip("link", "set", "up1", "name", "later")
    with server_daemon(site), client_daemon(site, {"Multipath": {"Path": (path,)}}) as client:
        client.wait_for("the first uplink", lambda: client.active_uplinks() == {"up0"})
        site.client.ip("link", "set", "later", "name", "up1")
        started = time.monotonic()
        site.set_uplink(1, up=True)
        client.wait_for("both uplinks", lambda: client.active_uplinks() == {"up0", "up1"})
        print(f"a new uplink is used after {time.monotonic() - started:.2f} s")
        assert time.monotonic() - started < 3
        assert {told["backup"] for told in client.stats()["paths"]} == {"backup" in path}
        site.client.ip("link", "delete", "up1")
        client.wait_for("it is forgotten", lambda: [one["name"] for one in client.stats()["interfaces"]] == ["up0"])
        assert client.active_uplinks() == {"up0"}
