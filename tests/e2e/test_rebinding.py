"""F4: a NAT on the way gives the client another port, or another address, every few seconds.

    client 10.1.0.2 ==emulated link== 10.1.0.1 NAT 10.9.0.0/24 ==veth== 10.9.0.1 server
"""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import time

import pytest

from tests.lab.links import Emulator, Link, Shape
from tests.lab.net import Namespace, Net
from tests.lab.site import SERVER_ADDRESSES, Site
from tests.lab.traffic import Stream, Transfer
from tests.lab.tunnel import INNER, Tunnel, tunnel
from tests.system.inside import inside

pytestmark = [pytest.mark.netns, pytest.mark.pace]

NETLINK_NETFILTER = 12
CTNETLINK_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: without a tuple, all
REQUEST_AND_ACK = 0x5
EVERY = 5.0  # seconds between two rebindings
QUIET = 4.0  # seconds before the first one
CASES = list(itertools.product(("port", "address"), ("up", "down")))
RULES = """
add table ip nat
delete table ip nat
table ip nat {{
    chain post {{ type nat hook postrouting priority srcnat; meta l4proto udp oifname out0 snat to {to}; }}
}}
"""


def build_nat_site(net: Net, shape: Shape) -> tuple[Site, Namespace]:
    """A client behind a NAT, whose rules are still to be set."""
    server, nat, client = (net.namespace(name) for name in ("server", "nat", "client"))
    emulator = net.enter(Emulator(Link("up0", client, "up0", nat, "in0", shape)))
    net.veth(nat, "out0", server, "dn0")
    for namespace, interface, address in (
        (client, "up0", "10.1.0.2/24"),
        (nat, "in0", "10.1.0.1/24"),
        *((nat, "out0", f"10.9.0.{number}/24") for number in range(10, 20)),
        (server, "dn0", "10.9.0.1/24"),
        *((server, "lo", address) for address in SERVER_ADDRESSES),
    ):
        namespace.ip("addr", "add", address, "dev", interface)
        namespace.ip("link", "set", interface, "up")
    nat.sysctl(ipv4__ip_forward=1)
    client.ip("route", "add", "default", "via", "10.1.0.1")
    nat.ip("route", "add", "default", "via", "10.9.0.1")
    return Site(net, server, client, ("up0",), emulator), nat


def forget_connections() -> None:
    """Empty the connection tracking table of this namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHII4x", 20, CTNETLINK_DELETE, REQUEST_AND_ACK, 1, 0))
        (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
        assert error == 0, error


def rebind(nat: Namespace, number: int, what: str) -> None:
    """The NAT forgets all it knew, and from now on gives out another port, or address, the `number`th."""
    to = f"10.9.0.{10 + number}" if what == "address" else f"10.9.0.10:{20000 + 100 * number}-{20099 + 100 * number}"

    def change() -> None:
        subprocess.run(["nft", "-f", "-"], input=RULES.format(to=to), text=True, check=True)
        forget_connections()

    inside(nat, change)


@pytest.mark.parametrize(
    ("what", "way", "every"),
    [("port", "down", 2.5), *(pytest.param(*case, EVERY, marks=pytest.mark.long) for case in CASES)],
)
def test_a_tunnel_lives_through_rebindings(net: Net, what: str, way: str, every: float) -> None:
    """The same session, and at least 80 % of the goodput that it has without."""
    site, nat = build_nat_site(net, Shape(rate=50, delay=10))
    rebind(nat, 0, what)
    with tunnel(site) as t:
        ends = (site.client, site.server, INNER) if way == "up" else (site.server, site.client, t.client_address)
        with Stream(*ends) as stream:
            flow = Transfer(*ends, seconds=QUIET + 2 * every).start()
            time.sleep(QUIET)
            remotes = [remote(t)]
            for number in (1, 2):
                rebind(nat, number, what)
                time.sleep(every)
                remotes.append(remote(t))
        result, lost = flow.result(), stream.result.lost
    before, during = result.between(1, QUIET), result.between(QUIET, QUIET + 2 * every)
    print(f"{what}, {way}: {during:.1f} Mbit/s, without {before:.1f}; ", end="")
    print(f"longest gap {stream.result.longest_gap:.3f} s, lost {lost} of {stream.result.sent}")
    assert during >= 0.8 * before
    assert stream.result.longest_gap < 1
    assert len(set(remotes)) == 3, remotes
    assert t.client.log.read_text().count("tunnel up") == 1
    assert t.server.log.read_text().count("connected") == 1


def remote(t: Tunnel) -> str:
    """Where the server sees its client."""
    [path] = [path for client in t.server.stats()["clients"] for path in client["paths"] if path["usable"]]
    return str(path["remote"])
