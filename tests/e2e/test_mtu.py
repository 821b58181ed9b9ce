"""What fits through the tunnel follows the MTU of the interfaces: jumbo frames are used, small links are not probed
above what they take, and a change is followed."""

from __future__ import annotations

import json

import pytest

from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES
from tests.lab.net import Namespace, Net
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, Site, build_site
from tests.lab.traffic import ping, transfer
from tests.lab.tunnel import INNER, PORT, Daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

SERVERS = {28: SERVER_ADDRESSES[0], 48: f"[{SERVER_ADDRESSES_6[0]}]"}  # by the size of IP and UDP headers


def set_mtu(site: Site, mtu: int, number: int = 0) -> None:
    """Of a link, at the client's end and at the server's."""
    for namespace, interface in ((site.client, f"up{number}"), (site.server, f"dn{number}")):
        namespace.unchanged.but_interfaces(interface)
        namespace.ip("link", "set", interface, "mtu", str(mtu))


def mtu_of(namespace: Namespace, interface: str) -> int:
    return int(json.loads(namespace.ip("-j", "link", "show", "dev", interface))[0]["mtu"])


def refused_by_the_kernel(daemon: Daemon) -> int:
    """Datagrams larger than the interface takes, among others."""
    return int(daemon.stats()["drops"].get("socket_send", 0))


def found_by(server: Daemon) -> int:
    """The largest IP packet that the server's own search has found to fit its paths to the client."""
    paths = [path for client in server.stats()["clients"] for path in client["paths"] if path["state"] == "active"]
    return min((int(path["mtu"]) for path in paths), default=0) - OVERHEAD - SPREAD_BYTES


def inner(mtu: int, headers: int = 28) -> int:
    return mtu - headers - OVERHEAD - SPREAD_BYTES


@pytest.mark.parametrize("headers", SERVERS, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("mtu", [1400, 9000])
def test_packets_as_large_as_the_link_allows(net: Net, mtu: int, headers: int) -> None:
    site = build_site(net, [None])
    set_mtu(site, mtu)
    with tunnel(site, client={"Server": {"Address": f"{SERVERS[headers]}:{PORT}"}}) as t:
        size = inner(mtu, headers)
        t.client.wait_for("the TUN's MTU is what the link leaves", lambda: mtu_of(site.client, "mqc0") == size)
        assert mtu_of(site.server, "mqs0") >= size
        for namespace, address in ((site.client, INNER), (site.server, t.client_address)):
            answer = ping(namespace, address, size=size - 28, fragment=False)
            assert answer.received == answer.sent, answer.output
        down = transfer(site.server, site.client, t.client_address, seconds=1)
        assert min(transfer(site.client, site.server, INNER, seconds=1).mbit, down.mbit) > 100
        for daemon in (t.client, t.server):
            assert refused_by_the_kernel(daemon) == 0


def test_the_tunnel_follows_when_a_link_gets_another_mtu(net: Net) -> None:
    site = build_site(net, [None, None])
    with tunnel(site) as t:
        for mtu in (1500, 1400, 9000, 1500):
            set_mtu(site, mtu, 1)
            expected = inner(min(mtu, 1500))
            t.client.wait_for(f"a TUN for links of {mtu}", lambda: mtu_of(site.client, "mqc0") == expected)  # noqa: B023
            t.server.wait_for("as much the other way", lambda: found_by(t.server) == expected)  # noqa: B023
            answer = ping(site.client, INNER, size=expected - 28, fragment=False)
            assert answer.received == answer.sent, answer.output


def test_jumbo_frames_come_while_the_tunnel_is_up(net: Net) -> None:
    site = build_site(net, [None])
    with tunnel(site) as t:
        set_mtu(site, 9000)
        t.client.wait_for("jumbo frames", lambda: mtu_of(site.client, "mqc0") == inner(9000))
        t.server.wait_for("as much the other way", lambda: found_by(t.server) == inner(9000))
        assert mtu_of(site.server, "mqs0") >= inner(9000)
        answer = ping(site.server, t.client_address, size=inner(9000) - 28, fragment=False)
        assert answer.received == answer.sent, answer.output


def test_without_paths_of_its_own_the_client_knows_the_mtu_too(net: Net) -> None:
    site = build_site(net, [None])
    set_mtu(site, 9000)
    with tunnel(site, client={"Multipath": {"Path": ()}}) as t:
        t.client.wait_for("jumbo frames", lambda: mtu_of(site.client, "mqc0") == inner(9000))
        set_mtu(site, 1400)
        t.client.wait_for("small frames", lambda: mtu_of(site.client, "mqc0") == inner(1400))
