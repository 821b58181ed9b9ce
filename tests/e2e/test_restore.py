"""After SIGTERM both machines are as they were: addresses, routes, rules, nft tables, sysctls."""

from __future__ import annotations

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.tunnel import tunnel
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("first", ["client", "server"])
def test_everything_is_restored(net: Net, first: str) -> None:
    site = build_site(net, [None, None])
    namespaces = (site.client.name, site.server.name)
    before = [snapshot(name) for name in namespaces]
    with tunnel(site) as t:
        running = [snapshot(name) for name in namespaces]
        order = (t.client, t.server) if first == "client" else (t.server, t.client)
        assert [daemon.stop() for daemon in order] == [0, 0]
    for was, during, name in zip(before, running, namespaces, strict=True):
        assert difference(was, during), f"{name}: the tunnel changed nothing, so this test shows nothing"
        assert difference(was, snapshot(name)) == []
