"""One of two links fails under four TCP flows, with notice or in silence, and comes back."""

from __future__ import annotations

import time

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net, wait_for
from tests.lab.site import Site, build_site
from tests.lab.traffic import Result, Stream, Transfer
from tests.lab.tunnel import INNER, Tunnel, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.pace]

FAULT, REPAIR, END = 5, 11, 18  # seconds
SLOW_LINK = 20  # Mbit/s, the one that stays


def set_fault(site: Site, kind: str, *, broken: bool) -> None:
    if kind == "link down":
        site.set_uplink(0, up=not broken)
    else:
        site.set_link(0, blackhole=broken)


def run_with_fault(t: Tunnel, kind: str, *, upload: bool) -> tuple[Result, float]:
    """Four flows through fault and repair; also the seconds until the repaired link carried traffic again."""
    site = t.site
    ends = (site.client, site.server, INNER) if upload else (site.server, site.client, t.client_address)
    flows = Transfer(*ends, seconds=END, streams=4).start()
    time.sleep(FAULT)
    set_fault(site, kind, broken=True)
    time.sleep(REPAIR - FAULT)
    set_fault(site, kind, broken=False)
    repaired = time.monotonic()
    before = sum(site.client.traffic("up0"))
    wait_for("the link carries traffic again", lambda: sum(site.client.traffic("up0")) > before + 500_000)
    until_used = time.monotonic() - repaired
    return flows.result(), until_used


@pytest.mark.parametrize("upload", [True, pytest.param(False, marks=pytest.mark.long)], ids=["upload", "download"])
@pytest.mark.parametrize(("kind", "allowed"), [("link down", 0), ("blackhole", 1)])
def test_traffic_goes_on(net: Net, kind: str, allowed: int, upload: bool) -> None:
    site = build_site(net, [Shape(rate=50, delay=10), Shape(rate=SLOW_LINK, delay=25)])
    with tunnel(site) as t:
        result, until_used = run_with_fault(t, kind, upload=upload)
    print([round(i.bytes * 8e-6 / i.seconds, 1) for i in result.intervals], f"used after {until_used:.2f} s")
    assert result.empty(start=1) <= allowed
    assert result.between(FAULT + 2, REPAIR) > 0.6 * SLOW_LINK
    assert until_used < 3
    assert result.between(REPAIR + 3, END) > 1.5 * SLOW_LINK


@pytest.mark.parametrize(("kind", "gap"), [("link down", 0.5), ("blackhole", 1.0)])
def test_small_packets_see_a_short_gap(net: Net, kind: str, gap: float) -> None:
    site = build_site(net, [Shape(rate=50, delay=10), Shape(rate=SLOW_LINK, delay=25)])
    with tunnel(site), Stream(site.client, site.server, INNER) as stream:
        time.sleep(2)
        set_fault(site, kind, broken=True)
        time.sleep(3)
        set_fault(site, kind, broken=False)
        time.sleep(3)
    assert stream.result.longest_gap < gap
    assert stream.result.duplicates == 0
