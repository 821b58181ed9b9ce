"""What Routes, Exclude and IPv6 say, in real clients: which way packets go, and what passes the kill switch."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator

import pytest

from tests.lab.capture import Capture
from tests.lab.net import Namespace, Net, wait_for
from tests.lab.site import SERVER_ADDRESSES, SERVER_ADDRESSES_6, Site, build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, PORT, SUBNET, SUBNET6, Daemon, Sections, client_daemon, server_daemon
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SERVER = (SERVER_ADDRESSES[0], PORT)
OTHER, OTHER_6 = SERVER_ADDRESSES[1], SERVER_ADDRESSES_6[1]  # reached with the tunnel and without it
NEIGHBOUR = "10.1.0.1"
FAR, FAR_6 = "203.0.113.9", "2001:db8:9::9"


def way(client: Namespace, address: str) -> str:
    """The interface by which packets to the address leave, or none."""
    words = client.run("ip", "route", "get", address, check=False).split()
    return words[words.index("dev") + 1] if "dev" in words else "none"


def has_ipv4(client: Namespace, interface: str) -> bool:
    return "inet " in client.run("ip", "addr", "show", "dev", interface, check=False)


def interface(**keys: str | list[str]) -> Sections:
    return {"Interface": {"TunName": "mqc0", **keys}}


@contextlib.contextmanager
def client_up(site: Site, changes: Sections) -> Iterator[Daemon]:
    with client_daemon(site, changes, up=has_ipv4) as daemon:
        daemon.wait_for("the tunnel is up", lambda: "tunnel up over" in daemon.log.read_text())
        yield daemon


def test_a_list_of_routes_and_its_reload(net: Net) -> None:
    site = build_site(net, [None, None])
    before = snapshot(site.client.name)
    config = site.net.directory / "client.conf"
    changes = interface(Routes=[SUBNET, SUBNET6], Table="77", FwMark="0x4242")
    with server_daemon(site), client_up(site, changes) as client:
        assert [way(site.client, a) for a in (INNER, "fd77::1", FAR, FAR_6)] == ["mqc0", "mqc0", "up0", "up0"]
        rules = json.loads(site.client.ip("-j", "rule", "show"))
        assert [(rule["fwmark"], rule["table"]) for rule in rules if "fwmark" in rule] == [("0x4242", "77")]
        wider = f"Routes = default\nExclude = {OTHER}/32\n"
        config.write_text(config.read_text().replace(f"Routes = {SUBNET}\n", wider))
        client.process.send_signal(signal.SIGHUP)
        wait_for("the new routes", lambda: way(site.client, FAR) == "mqc0")
        assert [way(site.client, a) for a in (INNER, FAR_6, OTHER)] == ["mqc0", "mqc0", "up0"]
        assert ping(site.client, OTHER, count=1).received == 1
        config.write_text(config.read_text().replace("Table = 77", "Table = main"))
        client.process.send_signal(signal.SIGHUP)
        client.wait_for("a refusal", lambda: "not reloaded" in client.log.read_text())
        assert way(site.client, FAR) == "mqc0"
        assert client.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_ipv6_and_local_networks_by_reload(net: Net) -> None:
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    config = net.directory / "client.conf"
    changes = interface(KillSwitch="true", IPv6="auto", AllowLan="false")
    with server_daemon(site), client_up(site, changes) as client:

        def reload(old: str, new: str) -> None:
            config.write_text(config.read_text().replace(old, new))
            client.process.send_signal(signal.SIGHUP)

        assert [way(site.client, address) for address in (FAR_6, NEIGHBOUR)] == ["mqc0", "mqc0"]
        reload("AllowLan = false", "AllowLan = true")
        wait_for("the way", lambda: way(site.client, NEIGHBOUR) == "up0")
        assert ping(site.client, NEIGHBOUR, count=1).received == 1
        reload("IPv6 = auto", "IPv6 = block")
        wait_for("no way", lambda: way(site.client, FAR_6) == "none")
        wait_for("no address", lambda: "fd77" not in site.client.ip("addr", "show", "dev", "mqc0"))
        reload("IPv6 = block\nAllowLan = true", "IPv6 = auto\nAllowLan = false")
        wait_for("the way", lambda: way(site.client, FAR_6) == "mqc0")
        assert ping(site.client, "fd77::1", count=1).received == 1
        assert way(site.client, NEIGHBOUR) == "mqc0"
        assert "takes effect with a restart" not in client.log.read_text()
        assert client.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_what_the_server_advertises(net: Net) -> None:
    """Ours forwards to everything."""
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    with server_daemon(site), client_up(site, interface(Routes="server")) as client:
        wait_for("the routes", lambda: [way(site.client, a) for a in (FAR, FAR_6)] == ["mqc0", "mqc0"])
        assert ping(site.client, INNER, count=1).received == 1
        assert client.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_what_is_excluded_passes_the_kill_switch_and_nothing_else_does(net: Net) -> None:
    site = build_site(net, [None])
    changes = interface(KillSwitch="true", Exclude=[f"{OTHER}/32", f"{OTHER_6}/128"])
    with server_daemon(site), client_up(site, changes), Capture(site.client, site.uplinks) as capture:
        for address in (OTHER, OTHER_6):
            assert ping(site.client, address, count=1).received == 1
        for address in (FAR, "10.1.0.1", SERVER_ADDRESSES[0], SERVER_ADDRESSES_6[0]):
            ping(site.client, address, count=1)
        time.sleep(0.2)
    assert {packet.destination for packet in capture.leaks([SERVER])} == {OTHER, OTHER_6}


def test_a_kill_switch_with_a_list_of_routes_refuses_the_rest(net: Net) -> None:
    site = build_site(net, [None])
    changes = interface(KillSwitch="true", Routes=[SUBNET])
    with server_daemon(site), client_up(site, changes), Capture(site.client, site.uplinks) as capture:
        assert ping(site.client, INNER, count=1).received == 1
        for address in (OTHER, OTHER_6, "10.1.0.1"):
            assert ping(site.client, address, count=1).received == 0
    assert capture.leaks([SERVER]) == []


def test_a_server_that_advertises_some_prefixes(net: Net) -> None:
    """And, after its reload, others to those who connect from then on."""
    site = build_site(net, [None])
    some: Sections = {"Interface": {"Advertise": [SUBNET, SUBNET6, f"{OTHER}/32"]}}
    config = net.directory / "server.conf"
    with server_daemon(site, some) as server:
        with client_up(site, interface(Routes="server")):
            wait_for("the routes", lambda: [way(site.client, a) for a in (INNER, OTHER)] == ["mqc0", "mqc0"])
            assert [way(site.client, a) for a in (FAR, FAR_6, OTHER_6)] == ["up0", "up0", "up0"]
            assert ping(site.client, INNER, count=1).received == 1
            assert ping(site.client, OTHER, count=1).received == 1
        config.write_text(config.read_text().replace(f"{OTHER}/32", f"{OTHER_6}/128"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the reload", lambda: "configuration reloaded" in server.log.read_text())
        with client_up(site, interface(Routes="server")):
            wait_for("the routes", lambda: [way(site.client, a) for a in (INNER, OTHER_6)] == ["mqc0", "mqc0"])
            assert way(site.client, OTHER) == "up0"


@pytest.mark.parametrize(("mode", "leaves"), [("auto", False), ("allow", True)])
def test_ipv6_of_a_tunnel_that_carries_none(net: Net, mode: str, leaves: bool) -> None:
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    only4: Sections = {"Interface": {"Subnet6": []}}
    with server_daemon(site, only4), client_up(site, interface(IPv6=mode)) as client:
        assert way(site.client, FAR) == "mqc0"
        with Capture(site.client, site.uplinks) as capture:
            assert way(site.client, OTHER_6) == ("up0" if leaves else "none")
            site.client.run("ping", "-n", "-c1", "-W1", OTHER_6, check=False)
            assert ping(site.client, "2001:db8:1:0::1", count=1).received == 1  # a neighbour
        assert (OTHER_6 in {packet.destination for packet in capture.packets}) is leaves
        assert client.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_blocked_ipv6_takes_neither_way(net: Net) -> None:
    site = build_site(net, [None])
    with server_daemon(site), client_up(site, interface(IPv6="block")):
        assert way(site.client, FAR) == "mqc0"
        assert way(site.client, FAR_6) == "none"
        assert "fd77" not in site.client.ip("addr", "show", "dev", "mqc0")
