"""Reinjection: what was under way on a link that falls silent goes out again on the other one."""

from __future__ import annotations

import time

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, StreamResult
from tests.lab.tunnel import INNER, Tunnel, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

INTERVAL = 0.002  # seconds: 500 packets per second
LINKS = (Shape(rate=50, delay=10), Shape(rate=20, delay=25))


def loads(site: Site) -> list[int]:
    """Bytes that each link has carried."""
    return [sum(site.client.traffic(uplink)) for uplink in site.uplinks]


def through_a_silence(t: Tunnel, *, upload: bool) -> StreamResult:
    """A stream during which the link that carries it swallows everything, and passes it again."""
    ends = (t.site.client, t.site.server, INNER) if upload else (t.site.server, t.site.client, t.client_address)
    before = loads(t.site)
    with Stream(*ends, interval=INTERVAL) as stream:
        time.sleep(2)
        carried = [now - was for now, was in zip(loads(t.site), before, strict=True)]
        used = carried.index(max(carried))
        t.site.set_link(used, blackhole=1)
        time.sleep(2)
        t.site.set_link(used, blackhole=0)
        time.sleep(2)
    return stream.result


@pytest.mark.parametrize("upload", [True, pytest.param(False, marks=pytest.mark.long)], ids=["upload", "download"])
def test_a_link_that_falls_silent_loses_nothing_that_is_young(net: Net, upload: bool) -> None:
    site = build_site(net, LINKS)
    results = {}
    for setting in ("on", "off"):
        ends = {"Multipath": {"Reinjection": setting}}
        with tunnel(site, server=ends, client=ends) as t:
            results[setting] = through_a_silence(t, upload=upload)
        print(f"Reinjection {setting}: {results[setting]}")
    assert results["on"].sent > 2000
    assert (results["on"].lost, results["on"].duplicates) == (0, 0)
    assert results["off"].lost > 5
