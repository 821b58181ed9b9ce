"""What others delete of the client's addresses, routes and rules comes back (F19), and nothing leaks meanwhile."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.lab.capture import Capture
from tests.lab.net import Net, wait_for
from tests.lab.site import SERVER_ADDRESSES, Site, build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, PORT, tunnel
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SERVER = (SERVER_ADDRESSES[0], PORT)
SOON = 2.0  # seconds; 0.2 are promised for a machine that does nothing else
DELETIONS = (
    "route flush table 28017",
    "-6 route flush table 28017",
    "rule del priority 28017",
    "-6 rule flush protocol 171",
    "addr flush dev mqc0 scope global",
    "link set mqc0 down",
)


def ours(site: Site) -> dict[str, Any]:
    """All but the sysctls and the link-local addresses: the kernel makes another one each time."""
    state = snapshot(site.client.name)
    del state["sysctls"]
    state["addresses"] = [_without_link_local(json.loads(item)) for item in state["addresses"]]
    return {part: [item for item in items if "fe80::" not in item] for part, items in state.items()}


def _without_link_local(interface: dict[str, Any]) -> str:
    kept = [address for address in interface["addr_info"] if address["scope"] != "link"]
    return json.dumps(interface | {"addr_info": kept}, sort_keys=True)


@pytest.mark.pace
def test_what_is_deleted_comes_back(net: Net) -> None:
    site = build_site(net, [None])
    before = snapshot(site.client.name)
    with tunnel(site) as t:
        running, slowest = ours(site), 0.0
        for words in DELETIONS:
            began = time.monotonic()
            site.client.ip(*words.split())
            wait_for(f"{words}: undone", lambda: difference(running, ours(site)) == [], timeout=SOON)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.6)  # ten in five seconds are the limit
        assert ping(site.client, INNER, count=1).received == 1
        print(f"back after {slowest:.3f} s at most, a snapshot of the machine included")
        assert "addresses and routes: somebody deleted it; it is back" in t.client.log.read_text()
        assert t.client.stop() == 0
    assert difference(before, snapshot(site.client.name)) == []


def test_a_fight_is_not_fought_without_a_pause_and_nothing_leaks(net: Net) -> None:
    site = build_site(net, [None])
    kill_switch = {"Interface": {"KillSwitch": "true"}}
    with tunnel(site, client=kill_switch) as t, Capture(site.client, site.uplinks) as capture:
        running = ours(site)
        end = time.monotonic() + 20
        while "somebody keeps deleting it" not in t.client.log.read_text() and time.monotonic() < end:
            site.client.run("ip", "rule", "del", "priority", "28017", check=False)
            ping_once = ("ping", "-n", "-c1", "-W0.1", "203.0.113.9")
            site.client.run(*ping_once, check=False)
        assert t.client.log.read_text().count("somebody keeps deleting it") == 1
        assert t.client.log.read_text().count("it is back") <= 11
        wait_for("all is back", lambda: difference(running, ours(site)) == [])
    assert capture.leaks([SERVER]) == []
