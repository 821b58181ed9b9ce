"""The server's way to the world: another uplink, a firewall that is loaded anew, addresses that are deleted."""

from __future__ import annotations

import pytest

from tests.lab.net import Namespace, Net, wait_for
from tests.lab.site import build_site
from tests.lab.tunnel import tunnel

pytestmark = pytest.mark.netns

WORLD, WORLD_6 = "203.0.113.9", "2001:db8:9::9"
FOREIGN = "flush ruleset; add table inet foreign; add chain inet foreign output"


def answers(client: Namespace, address: str) -> bool:
    return "1 received" in client.run("ping", "-n", "-c1", "-W0.3", address, check=False)


def world(net: Net, server: Namespace) -> Namespace:
    """A namespace with an address that two uplinks of the server lead to, and that knows nothing of the tunnel."""
    world = net.namespace("world")
    for address in (WORLD, WORLD_6):
        world.ip("addr", "add", address, "dev", "lo")
    for number in range(2):
        net.veth(server, f"w{number}", world, f"e{number}")
        for end, host, interface in ((server, 2, f"w{number}"), (world, 1, f"e{number}")):
            end.ip("addr", "add", f"192.0.2.{16 * number + host}/28", "dev", interface)
            end.ip("addr", "add", f"2001:db8:90{number}::{host}/64", "dev", interface, "nodad")
            end.ip("link", "set", interface, "up")
    lead_by(server, 0)
    return world


def lead_by(server: Namespace, number: int) -> None:
    server.ip("route", "replace", "default", "via", f"192.0.2.{16 * number + 1}")
    server.ip("-6", "route", "replace", "default", "via", f"2001:db8:90{number}::1")


def test_addresses_are_translated_to_those_of_the_uplink_in_use(net: Net) -> None:
    site = build_site(net, [None])
    far = world(net, site.server)
    with tunnel(site):
        wait_for("an echo", lambda: answers(site.client, WORLD))
        wait_for("one by IPv6", lambda: answers(site.client, WORLD_6))
        site.server.unchanged.but_interfaces("w0", "w1")
        lead_by(site.server, 1)
        site.server.ip("link", "set", "w0", "down")
        far.ip("link", "set", "e0", "down")
        wait_for("an echo by the other uplink", lambda: answers(site.client, WORLD))
        wait_for("one by IPv6", lambda: answers(site.client, WORLD_6))


@pytest.mark.pace
def test_a_firewall_that_is_loaded_anew_and_addresses_that_are_deleted(net: Net) -> None:
    site = build_site(net, [None])
    world(net, site.server)
    with tunnel(site) as t:
        site.server.unchanged.but('"foreign"')
        site.server.run("nft", FOREIGN)
        wait_for("masquerading is back", lambda: "mqvpn_mqs0" in site.server.run("nft", "list", "tables"), timeout=2)
        wait_for("an echo from the world", lambda: answers(site.client, WORLD))
        assert "masquerading: somebody deleted it; it is back" in t.server.log.read_text()
        site.server.ip("addr", "flush", "dev", "mqs0", "scope", "global")
        wait_for("an echo from the world", lambda: answers(site.client, WORLD))
        assert t.client.stop() == t.server.stop() == 0
        assert site.server.run("nft", "list", "tables").split("\n")[0] == "table inet foreign"
        assert "mqvpn" not in site.server.run("nft", "list", "tables")
