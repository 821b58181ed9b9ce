"""TCP through the tunnel offers no larger segments than fit, whoever connects, so that it flows where nobody hears
that a packet is too big.

    lan 192.168.7.2 -- client =====tunnel (link of 1400)===== server (link of 9000) -- far 203.0.113.2

The hosts behind the ends have links of 1500, and every message "too big" is dropped on its way. The server's TUN takes
jumbo frames, so the MSS clamp of its firewall, which goes by that, does not help: it is the tunnel that knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from mqvpn.multipath.search import CLOSE_ENOUGH
from tests.e2e.test_mtu import inner, mtu_of
from tests.lab.handshakes import Handshakes
from tests.lab.net import Namespace, Net
from tests.lab.site import build_site
from tests.lab.traffic import Transfer, ping
from tests.lab.tunnel import Tunnel, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

LINK = 1400
LAN, FAR = ("192.168.7", "fd00:7:"), ("203.0.113", "fd00:113:")
HEADERS = {4: 40, 6: 60}  # bytes of IP and TCP
DEAF = """
table inet deaf {
    chain too_big {
        icmp type destination-unreachable icmp code frag-needed drop
        icmpv6 type packet-too-big drop
    }
    chain out { type filter hook output priority filter; jump too_big; }
    chain pass { type filter hook prerouting priority filter; jump too_big; }
}
"""
GATEWAY = """
table inet gateway {
    chain in {
        type nat hook prerouting priority dstnat
        iifname mqc0 meta l4proto tcp meta nfproto ipv4 dnat ip to 192.168.7.2
        iifname mqc0 meta l4proto tcp meta nfproto ipv6 dnat ip6 to fd00:7::2
    }
    chain out { type nat hook postrouting priority srcnat; oifname mqc0 masquerade; }
}
"""


@dataclass(frozen=True)
class Behind:
    """A tunnel and the hosts behind its ends."""

    tunnel: Tunnel
    lan: Namespace
    far: Namespace

    def address(self, host: Namespace, version: int) -> str:
        """Where the other host finds this one; the LAN hides behind the client's inner address."""
        if host is self.lan:
            return self.tunnel.client_address if version == 4 else self.tunnel.client_address_6
        return f"{FAR[0]}.2" if version == 4 else f"{FAR[1]}:2"


def attach(net: Net, name: str, gateway: Namespace, prefixes: tuple[str, str]) -> Namespace:
    """A host with a plain link to its gateway."""
    host = net.namespace(name)
    net.veth(host, "eth0", gateway, name)
    for namespace, interface, number in ((host, "eth0", 2), (gateway, name, 1)):
        namespace.ip("addr", "add", f"{prefixes[0]}.{number}/24", "dev", interface)
        namespace.ip("addr", "add", f"{prefixes[1]}:{number}/64", "dev", interface)
        namespace.ip("link", "set", interface, "up")
    host.ip("route", "add", "default", "via", f"{prefixes[0]}.1")
    host.ip("-6", "route", "add", "default", "via", f"{prefixes[1]}:1")
    gateway.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    return host


@contextmanager
def hosts_behind(net: Net) -> Iterator[Behind]:
    site = build_site(net, [None])
    site.client.ip("link", "set", "up0", "mtu", str(LINK))
    site.server.ip("link", "set", "dn0", "mtu", "9000")
    lan = attach(net, "lan", site.client, LAN)
    far = attach(net, "far", site.server, FAR)
    for namespace in (site.client, site.server, lan, far):
        namespace.run("nft", DEAF)
    site.client.run("nft", GATEWAY)
    with tunnel(site) as t:
        t.client.wait_for("the TUN's MTU is what the link leaves", lambda: mtu_of(site.client, "mqc0") == inner(LINK))
        yield Behind(t, lan, far)


def offered(seen: Handshakes, *, leaves: bool, answers: bool) -> set[int]:
    """The segment sizes in SYNs or SYN-ACKs of one direction."""
    found = {offer.mss for offer in seen.offers if (offer.leaves, offer.answers) == (leaves, answers)}
    assert found
    return found


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("upload", [True, False], ids=["from the LAN", "to the LAN"])
def test_tcp_flows_where_too_big_is_never_heard(net: Net, version: int, upload: bool) -> None:
    own, most = 1500 - HEADERS[version], inner(LINK) - HEADERS[version]
    fits = range(most - CLOSE_ENOUGH, most + 1)
    with hosts_behind(net) as behind:
        assert mtu_of(behind.tunnel.site.server, "mqs0") > 1500
        asking, asked = (behind.lan, behind.far) if upload else (behind.far, behind.lan)
        address = behind.address(asked, version)
        full = ping(behind.lan, behind.address(behind.far, version), size=1400, fragment=False)
        assert full.received == 0
        assert "too long" not in full.output
        with Handshakes(asking, "eth0") as at_asking, Handshakes(asked, "eth0") as at_asked:
            mbit = Transfer(asking, asked, address, seconds=2).start().result().mbit
    assert offered(at_asking, leaves=True, answers=False) == {own}
    assert offered(at_asking, leaves=False, answers=True) <= set(fits)
    assert offered(at_asked, leaves=False, answers=False) <= set(fits)
    assert offered(at_asked, leaves=True, answers=True) == {own}
    assert mbit > 20
