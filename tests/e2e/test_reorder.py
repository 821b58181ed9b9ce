"""Where the ends have no Spread but Reorder, one UDP flow uses both paths of a tunnel, and arrives in order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, StreamResult
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.pace]

SECONDS = 6
INTERVAL, SIZE = 0.00125, 1200  # 7.7 Mbit/s, and headers
LINKS = [Shape(rate=6, delay=10), Shape(rate=4, delay=20)]


def stream(site: Site, reorder: dict[str, str], *, upload: bool) -> tuple[StreamResult, dict[str, Any]]:
    """One UDP flow of more than either link carries; and what its receiver tells of putting it in order."""
    sections = {"Multipath": {"Spread": "no"}, "Reorder": reorder}
    client = sections | {"Multipath": {"Spread": "no", "Path": site.uplinks}}
    with tunnel(site, server=sections, client=client) as t:
        ends = (site.client, site.server, INNER) if upload else (site.server, site.client, t.client_address)
        with Stream(*ends, interval=INTERVAL, size=SIZE) as run:
            time.sleep(SECONDS)
        told: dict[str, Any] = (t.server.stats()["clients"][0] if upload else t.client.stats())["reordering"]
    return run.result, told


@pytest.mark.parametrize("upload", [True, pytest.param(False, marks=pytest.mark.long)], ids=["upload", "download"])
def test_a_single_udp_flow_uses_both_paths_in_order(net: Net, upload: bool) -> None:
    site = build_site(net, LINKS)
    result, told = stream(site, {"Enabled": "on"}, upload=upload)
    print(result, told)
    assert result.received > 0.9 * result.sent  # the better link would take 0.75 of them
    assert result.reordered < 0.01 * result.received
    assert result.duplicates == 0
    assert told["numbered"] > 0.5 * result.received
    assert told["waited"] > 0 < told["gaps_filled"]
    assert 0.0 < told["p99_ms"] <= told["longest_ms"] <= 250


def test_without_it_the_flow_has_one_path(net: Net) -> None:
    site = build_site(net, LINKS)
    result, told = stream(site, {"Enabled": "off"}, upload=True)
    print(result)
    assert told["numbered"] == 0
    assert result.received < 0.85 * result.sent
