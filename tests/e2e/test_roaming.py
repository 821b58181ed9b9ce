"""The client's own addresses and routes change under a tunnel that is up."""

from __future__ import annotations

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, INNER_6, client_daemon, server_daemon, tunnel

pytestmark = pytest.mark.netns


def test_without_paths_the_kernels_routes_choose() -> None:
    """Strict reverse path filters would drop the server's answers, as our default route is in the tunnel."""
    with Net(strict_rp_filter=True) as net:
        site = build_site(net, [None, None])
        with server_daemon(site), client_daemon(site, {"Multipath": {"Path": ()}}) as client:
            for address in (INNER, INNER_6):
                assert ping(site.client, address).received == 3
            site.client.unchanged.but_interfaces(site.uplinks[0])
            site.client.ip("route", "del", "default", "dev", site.uplinks[0])
            client.wait_for("the other uplink is used", lambda: ping(site.client, INNER).received == 3)


def test_a_path_interface_gets_another_address(net: Net) -> None:
    site = build_site(net, [None])
    site.client.unchanged.but_interfaces("up0")
    with tunnel(site) as t:
        site.client.ip("addr", "flush", "dev", "up0")
        site.client.ip("addr", "add", "10.1.0.77/24", "dev", "up0")
        site.client.ip("route", "add", "default", "via", "10.1.0.1", "dev", "up0")
        t.client.wait_for("an echo", lambda: ping(site.client, INNER).received == 3)
        assert t.client.log.read_text().count("tunnel up") == 1
