"""Strict reverse path filters, a server with more addresses than the one it is asked on, and quiet hours."""

from __future__ import annotations

import re
import time
from functools import partial

import pytest

from tests.lab.net import Net, wait_for
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import INNER, PORT, client_daemon, server_daemon, tunnel

pytestmark = pytest.mark.netns

ADDRESSES = [SERVER_ADDRESSES[1], f"[{SERVER_ADDRESSES_6[1]}]"]


@pytest.mark.pace
@pytest.mark.parametrize("address", ADDRESSES, ids=["IPv4", "IPv6"])
def test_both_paths_work_with_strict_rp_filter(address: str) -> None:
    with Net(strict_rp_filter=True) as net:
        site = build_site(net, [None, None])
        with tunnel(site, client={"Server": {"Address": f"{address}:{PORT}"}}) as t:
            for broken in (0, 1):
                site.set_uplink(broken, up=False)
                assert ping(site.client, INNER, count=10).received >= 9
                site.set_uplink(broken, up=True)
                everywhere = set(site.uplinks)
                t.client.wait_for("both paths are back", lambda: t.client.active_uplinks() == everywhere)  # noqa: B023


def test_a_server_that_has_a_link_local_address_alone(net: Net) -> None:
    """Its zone says by which of the interfaces it is reached, and no other is tried."""
    site = build_site(net, [None, None])
    shown = partial(site.server.ip, "-6", "addr", "show", "dev", "dn1", "scope", "link")
    wait_for("a link-local address", lambda: "fe80::" in shown())
    [address] = re.findall(r"inet6 (fe80::\S+)/", shown())
    changes = {"Server": {"Address": f"[{address}%up1]:{PORT}", "Insecure": "true"}}
    with server_daemon(site), client_daemon(site, changes) as client:
        client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received == 1)
        client.wait_for("a path", client.active_uplinks)
        assert client.active_uplinks() == {"up1"}


@pytest.mark.long
def test_a_connection_outlives_its_handshake(net: Net) -> None:
    """For more than a minute nothing but 1-RTT packets: the QUIC library saw its last packet long ago."""
    site = build_site(net, [None, None])
    with tunnel(site), Stream(site.client, site.server, INNER, interval=0.05) as stream:
        time.sleep(75)
    assert stream.result.lost == 0
    assert stream.result.longest_gap < 1
