"""Two unequal paths together carry nearly the sum of what each carries alone, through the same tunnel."""

from __future__ import annotations

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import transfer
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.pace]

SECONDS, WARM_UP = 10, 4


def throughput(site: Site, uplinks: tuple[str, ...], *, upload: bool) -> float:
    """Mbit/s of eight TCP flows over these uplinks, after the start."""
    multipath = {"Scheduler": "wlb", "Path": uplinks}
    with tunnel(site, client={"Multipath": multipath}) as t:
        ends = (site.client, site.server, INNER) if upload else (site.server, site.client, t.client_address)
        return transfer(*ends, seconds=SECONDS, streams=8).between(WARM_UP, SECONDS)


@pytest.mark.parametrize("upload", [True, pytest.param(False, marks=pytest.mark.long)], ids=["upload", "download"])
def test_two_paths_add_up(net: Net, upload: bool) -> None:
    site = build_site(net, [Shape(rate=50, delay=10), Shape(rate=20, delay=25)])
    alone = [throughput(site, (uplink,), upload=upload) for uplink in site.uplinks]
    together = throughput(site, site.uplinks, upload=upload)
    print(f"alone {alone[0]:.1f} and {alone[1]:.1f} Mbit/s, together {together:.1f}")
    assert together >= 0.85 * sum(alone)
