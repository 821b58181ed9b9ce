"""F20: more netlink events than the kernel keeps for a reader, who is told ENOBUFS. The daemon's idea of the interfaces
is right soon after, its packets go on, and what is deleted of its own meanwhile comes back."""

from __future__ import annotations

import subprocess
import time

import pytest

from mqvpn.system.routing import PROTOCOL
from tests.e2e.test_links import paths, since
from tests.lab.net import Net, wait_for
from tests.lab.site import build_site
from tests.lab.traffic import Stream
from tests.lab.tunnel import INNER, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

EVENTS = 20_000


def storm(events: int) -> str:
    """For `ip -batch`: addresses of an interface that come and go, and in the midst of it the changes that matter."""
    pairs = [f"addr {verb} 192.0.2.{n % 250}/32 dev lo" for n in range(events // 2) for verb in ("add", "del")]
    matter = ["addr flush dev up1", f"route flush proto {PROTOCOL} table all", "addr flush dev mqc0"]
    return "\n".join((*pairs[: events // 2], *matter, *pairs[events // 2 :], ""))


def test_the_state_is_right_after_an_overrun(net: Net) -> None:
    site = build_site(net, [None, None])
    with tunnel(site) as t, Stream(site.client, site.server, INNER) as stream:
        command = ["ip", "-n", site.client.name, "-batch", "-"]
        started = time.monotonic()
        subprocess.run(command, input=storm(EVENTS), text=True, check=True, stdout=subprocess.DEVNULL)
        since(started, f"{EVENTS} events")
        started = time.monotonic()
        t.client.wait_for("its path is gone", lambda: t.client.active_uplinks() == {"up0"})
        wait_for("routes and addresses", lambda: t.client_address in site.client.ip("addr", "show", "dev", "mqc0"))
        assert since(started, "the state is right") < 2
        site.set_uplink(1, up=True)
        t.client.wait_for("the path is back", lambda: paths(t.client, "up1"))
        assert "dev mqc0" in site.client.ip("route", "get", "203.0.113.9")
    print(f"longest gap {stream.result.longest_gap:.3f} s, lost {stream.result.lost} of {stream.result.sent}")
    assert stream.result.longest_gap < 1
    assert t.client.log.read_text().count("tunnel up") == 1
