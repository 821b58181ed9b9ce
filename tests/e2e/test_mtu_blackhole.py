"""F9: links that swallow large packets without a word (no ICMP), from the start or from some moment on.

The interfaces go on to claim 1500 bytes; only probes tell. Whatever the link takes, inner packets of 1280 bytes pass.
"""

from __future__ import annotations

import itertools
import re
import time

import pytest

from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES
from tests.e2e.test_mtu import mtu_of
from tests.lab.links import Shape
from tests.lab.net import Namespace, Net
from tests.lab.site import build_site
from tests.lab.traffic import Result, Stream, Transfer, ping
from tests.lab.tunnel import INNER, INNER_6, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

HEADERS = OVERHEAD + SPREAD_BYTES + 28
COARSE = 16  # bytes that the search may leave unused
LEAST = 1280  # RFC 8200, section 5
RECOVERY = 5.0  # seconds


def fits(mtu: int) -> range:
    """The MTUs that a TUN may have over a link that takes so much."""
    return range(mtu - HEADERS - COARSE, mtu - HEADERS + 1)


def told(namespace: Namespace, address: str, size: int) -> int:
    """The MTU that ICMP, or the kernel by what it was told, names to the sender of a packet that is too large."""
    command = f"ping -n -c2 -i0.1 -W1 -M do -s {size - 28} {address} 2>&1"
    output = namespace.run("sh", "-c", command, check=False)
    found = re.search(r"mtu ?= ?(\d+)", output)
    assert found is not None, output
    return int(found[1])


def longest_silence(result: Result, since: float) -> float:
    """Seconds in a row in which nothing arrived."""
    runs = itertools.groupby((i for i in result.intervals if i.start > since - 0.1), lambda i: i.bytes == 0)
    return max((sum(i.seconds for i in run) for empty, run in runs if empty), default=0.0)


def test_a_link_that_takes_less_than_its_interfaces_say(net: Net) -> None:
    site = build_site(net, [Shape(rate=50, delay=10, mtu=1400)])
    with tunnel(site) as t:
        for address, headers in ((INNER, 28), (INNER_6, 48)):
            answer = ping(site.client, address, size=LEAST - headers, fragment=False)
            assert answer.received == answer.sent, answer.output
        t.client.wait_for("the TUN's MTU fits the link", lambda: mtu_of(site.client, "mqc0") in fits(1400))
        mtu = mtu_of(site.client, "mqc0")
        for namespace, address in ((site.client, INNER), (site.server, t.client_address)):
            answer = ping(namespace, address, size=mtu - 28, fragment=False)
            assert answer.received == answer.sent, answer.output
            assert told(namespace, address, mtu + 40) == mtu
        print(f"a link of 1400: MTU {mtu} inside")


@pytest.mark.parametrize("mtu", [1400, pytest.param(1492, marks=pytest.mark.long)])
def test_a_link_that_takes_less_from_now_on(net: Net, mtu: int) -> None:
    """Packets of 1280 bytes go on in both directions, and TCP within seconds."""
    site = build_site(net, [Shape(rate=50, delay=10)])
    with tunnel(site) as t:
        t.client.wait_for("full size", lambda: mtu_of(site.client, "mqc0") in fits(1500))
        up = Transfer(site.client, site.server, INNER, seconds=10, interval=0.1).start()
        down = Transfer(site.server, site.client, t.client_address, seconds=10, interval=0.1).start()
        with (
            Stream(site.client, site.server, INNER, size=LEAST - 28) as out,
            Stream(site.server, site.client, t.client_address, size=LEAST - 28) as back,
        ):
            time.sleep(3)
            site.set_link(0, mtu=mtu)
            shrunk = time.monotonic()
            t.client.wait_for("the TUN's MTU fits the link", lambda: mtu_of(site.client, "mqc0") in fits(mtu))
            took = time.monotonic() - shrunk
            time.sleep(max(0.0, 6 - took))
        results = up.result(), down.result()
        for transfer, result, way in zip((up, down), results, ("up", "down"), strict=True):
            at = shrunk - transfer.started
            silent = longest_silence(result, at)
            print(f"1500 to {mtu}, {way}: MTU after {took:.2f} s, no TCP for {silent:.2f} s, then", end=" ")
            print(f"{result.between(at + RECOVERY, 10):.0f} of {result.between(1, at):.0f} Mbit/s")
            assert silent < RECOVERY
            assert result.between(at + RECOVERY, 10) > 0.6 * result.between(1, at)
    for way, stream in (("up", out.result), ("down", back.result)):
        print(f"1280 bytes {way}: longest gap {stream.longest_gap:.3f} s, lost {stream.lost} of {stream.sent}")
        assert stream.longest_gap < 1
    assert took < RECOVERY
    assert t.client.log.read_text().count("tunnel up") == 1


def test_a_link_that_takes_too_little_from_now_on_beside_a_good_one(net: Net) -> None:
    """Less than inner packets of 1280 bytes need: that path is given up, and the other one carries everything."""
    site = build_site(net, [Shape(rate=50, delay=10), Shape(rate=50, delay=10)])
    paths = ["up0", "up1; role=backup"]  # so that both streams are on the one that shrinks
    with tunnel(site, client={"Multipath": {"Path": paths}}) as t:
        t.client.wait_for("full size", lambda: mtu_of(site.client, "mqc0") in fits(1500))
        with (
            Stream(site.client, site.server, INNER, size=LEAST - 28) as out,
            Stream(site.server, site.client, t.client_address, size=LEAST - 28) as back,
        ):
            time.sleep(1)
            site.set_link(0, mtu=1300)
            shrunk = time.monotonic()
            t.client.wait_for("the path is given up", lambda: t.client.active_uplinks() == {"up1"})
            took = time.monotonic() - shrunk
            time.sleep(1)
        for way, stream in (("up", out.result), ("down", back.result)):
            print(f"1280 bytes {way}: longest gap {stream.longest_gap:.3f} s, lost {stream.lost} of {stream.sent}")
        print(f"given up after {took:.2f} s")
        for stream in (out.result, back.result):
            assert stream.lost == 0
            assert stream.longest_gap < 1
        assert mtu_of(site.client, "mqc0") >= LEAST
        for address, headers in ((INNER, 28), (INNER_6, 48)):
            answer = ping(site.client, address, size=LEAST - headers, fragment=False)
            assert answer.received == answer.sent, answer.output
    assert t.client.log.read_text().count("tunnel up") == 1
