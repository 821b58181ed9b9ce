"""Links, addresses and routes that come, change and go: F1 to F3 and F28, with their numbers, which are printed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.mounts import own, private_mounts
from tests.lab.nameserver import command
from tests.lab.net import Net, program
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, Site, build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import INNER, PORT, Daemon, Sections, client_daemon, server_daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]


def since(started: float, what: str) -> float:
    took = time.monotonic() - started
    print(f"{what}: {took:.2f} s")
    return took


def paths(client: Daemon, interface: str) -> list[int]:
    """The IDs of the paths in use over an interface."""
    figures = client.stats().get("paths", ())
    return [path["id"] for path in figures if path["interface"] == interface and path["state"] == "active"]


def test_f3_another_address_with_the_same_route_opens_another_path(net: Net) -> None:
    """The old path is given up once the new one works, on the only link and on one of two, and nothing is lost long."""
    site = build_site(net, [None, None])
    site.client.ip("addr", "add", "10.1.0.77/24", "dev", "up0")
    site.client.unchanged.but_interfaces("up0")
    with tunnel(site) as t, Stream(site.client, site.server, INNER) as stream:
        before = paths(t.client, "up0")
        way = ("default", "via", "10.1.0.1", "dev", "up0", "metric", "100")
        site.client.ip("route", "replace", *way, "src", "10.1.0.77")
        started = time.monotonic()
        t.client.wait_for("another path", lambda: paths(t.client, "up0") and paths(t.client, "up0") != before)
        assert since(started, "a new path after a change of address") < 3
        time.sleep(1)
    print(f"longest gap {stream.result.longest_gap:.3f} s, lost {stream.result.lost}")
    assert stream.result.longest_gap < 2
    log = t.client.log.read_text()
    assert log.count("tunnel up") == 1
    assert "is opened: its address has changed" in log
    assert "is closed: another path has taken its place" in log
    assert "up0: can be used from 10.1.0.77" in log


def test_f3_an_ipv6_privacy_address_rotates(net: Net) -> None:
    """The new one is preferred, and the old one, deprecated by now, goes when nobody needs it any more (RFC 8981)."""
    site = build_site(net, [None])
    site.client.unchanged.but_interfaces("up0")
    server: Sections = {"Server": {"Address": f"[{SERVER_ADDRESSES_6[0]}]:{PORT}"}}
    with tunnel(site, client=server) as t, Stream(site.client, site.server, INNER) as stream:
        before = paths(t.client, "up0")
        old, new = "2001:db8:1:0::2/64", "2001:db8:1:0::77/64"
        site.client.ip("-6", "addr", "add", new, "dev", "up0")
        site.client.ip("-6", "addr", "change", old, "dev", "up0", "preferred_lft", "0")
        started = time.monotonic()
        t.client.wait_for("another path", lambda: paths(t.client, "up0") and paths(t.client, "up0") != before)
        assert since(started, "a new path after a change of the IPv6 address") < 3
        site.client.ip("-6", "addr", "del", old, "dev", "up0")
        time.sleep(1)
    print(f"longest gap {stream.result.longest_gap:.3f} s, lost {stream.result.lost}")
    assert stream.result.longest_gap < 2
    assert t.client.log.read_text().count("tunnel up") == 1


@pytest.mark.parametrize("how", ["carrier", "down", "address", "route"])
def test_f1_a_link_that_is_lost_with_notice(net: Net, how: str) -> None:
    site = build_site(net, [None, None])
    site.client.unchanged.but_interfaces("up0")
    with tunnel(site) as t, Stream(site.client, site.server, INNER) as stream:
        time.sleep(1)
        match how:
            case "carrier":
                site.server.unchanged.but_interfaces("dn0")
                site.server.ip("link", "set", "dn0", "down")
            case "down":
                site.client.ip("link", "set", "up0", "down")
            case "address":
                site.client.ip("addr", "flush", "dev", "up0")
            case "route":
                site.client.ip("route", "del", "default", "dev", "up0")
        started = time.monotonic()
        t.client.wait_for("its path is gone", lambda: t.client.active_uplinks() == {"up1"})
        since(started, f"{how}: the path is given up")
        time.sleep(1)
    print(f"{how}: longest gap {stream.result.longest_gap:.3f} s, lost {stream.result.lost}")
    assert stream.result.longest_gap < 1
    assert t.client.log.read_text().count("tunnel up") == 1


def test_f2_an_interface_that_comes_back_is_used_at_once(net: Net) -> None:
    site = build_site(net, [None, None])
    with tunnel(site) as t:
        site.set_uplink(1, up=False)
        t.client.wait_for("the path is gone", lambda: not paths(t.client, "up1"))
        site.set_uplink(1, up=True)
        started = time.monotonic()
        t.client.wait_for("the path is back", lambda: paths(t.client, "up1"))
        assert since(started, "a link that is back is in use") < 3


def comes_up(site: Site, number: int, after: float) -> list[float]:
    """Connect an uplink after so many seconds; the time of that is in the list then."""
    done: list[float] = []

    def connect() -> None:
        site.set_uplink(number, up=True)
        done.append(time.monotonic())

    timer = threading.Timer(after, connect)
    timer.start()
    site.net.callback(timer.join)
    return done


@pytest.mark.parametrize("known", [True, False], ids=["address", "name"])
@pytest.mark.parametrize("bound", [True, False], ids=["Path", "no Path"])
def test_f28_a_start_without_a_network_connects_when_there_is_one(tmp_path: Path, bound: bool, known: bool) -> None:
    """Without waiting for the end of the pause between two attempts, which takes longer than this test may."""
    address = SERVER_ADDRESSES[0] if known else "vpn.example"

    def body(net: Net) -> None:
        site = build_site(net, [None])
        site.client.ip("link", "set", "up0", "down")
        changes: Sections = {
            "Interface": {"ReconnectInterval": 50},
            "Server": {"Address": f"{address}:{PORT}"},
            "Multipath": {"Path": site.uplinks if bound else ()},
        }
        names = command(SERVER_ADDRESSES[1], SERVER_ADDRESSES[0])
        with server_daemon(site), program(site.server, *names, log=net.log("nameserver.log")):
            up = comes_up(site, 0, after=3)
            with client_daemon(site, changes):
                since(up[0], "the tunnel is up after the link")
                assert ping(site.client, INNER).received == 3

    on_own_etc(tmp_path, body)


def on_own_etc(room: Path, body: Callable[[Net], None]) -> None:
    """In a mount namespace where the server of the site answers for names, once it is reached."""

    def inside() -> None:
        own(room, "/etc")
        Path("/etc/nsswitch.conf").write_text("hosts: files dns\n")
        resolv_conf = Path("/etc/resolv.conf")
        resolv_conf.unlink(missing_ok=True)
        resolv_conf.write_text(f"nameserver {SERVER_ADDRESSES[1]}\n")
        with Net() as net:
            body(net)

    private_mounts(inside)


@pytest.mark.long
def test_a_second_link_with_a_better_route_ends_the_wait_of_a_client_without_paths(net: Net) -> None:
    site = build_site(net, [None, None])
    site.client.ip("link", "set", "up0", "down")
    changes: Sections = {"Interface": {"ReconnectInterval": 50}, "Multipath": {"Path": ()}}
    with server_daemon(site) as server, client_daemon(site, changes) as client:
        site.server.unchanged.but_interfaces("dn1")
        site.server.ip("link", "set", "dn1", "down")  # in silence, as seen from the client's machine
        server.process.kill()
        server.process.wait()
        with server_daemon(site):
            client.wait_for("the tunnel is down", lambda: client.stats()["next_attempt"], timeout=60)
            site.set_uplink(0, up=True)
            started = time.monotonic()
            client.wait_for("the tunnel is up", lambda: client.stats()["state"] == "up")
            since(started, "the tunnel is up after the second link")
