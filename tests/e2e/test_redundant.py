"""The scheduler `redundant`: every packet leaves on every link, and the receiver inside sees each of them once.

Reinjection is off, so that nothing but the second copy can make up for a packet that a link lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, StreamResult, ping
from tests.lab.tunnel import INNER, Daemon, Tunnel, client_daemon, server_daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

LINKS = (Shape(rate=50, delay=10), Shape(rate=50, delay=25))
SIZE, INTERVAL = 1000, 0.005  # bytes of UDP payload, seconds between two packets
REDUNDANT = {"Multipath": {"Scheduler": "redundant", "Reinjection": "off"}}
SINGLE = {"Multipath": {"Scheduler": "redundant", "Spread": "false"}}
WARNING = "redundant needs Spread on both ends"


def carried(site: Site, *, upload: bool) -> list[int]:
    """Bytes that each link took in this direction."""
    assert site.emulator is not None
    counters = site.emulator.counters()
    return [counters[f"{uplink}.{'ab' if upload else 'ba'}"]["bytes"] for uplink in site.uplinks]


def stream(t: Tunnel, *, upload: bool, fault: Callable[[], None] = lambda: None) -> tuple[StreamResult, list[int]]:
    """A numbered stream with a fault in its middle; also the bytes that each link took of it."""
    ends = (t.site.client, t.site.server, INNER) if upload else (t.site.server, t.site.client, t.client_address)
    before = carried(t.site, upload=upload)
    with Stream(*ends, interval=INTERVAL, size=SIZE) as sent:
        time.sleep(1.5)
        fault()
        time.sleep(1.5)
    after = carried(t.site, upload=upload)
    return sent.result, [now - was for now, was in zip(after, before, strict=True)]


def warnings(daemon: Daemon) -> int:
    return daemon.log.read_text().count(WARNING)


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
def test_every_packet_on_both_links_and_once_at_the_receiver(net: Net, upload: bool) -> None:
    site = build_site(net, LINKS)
    with tunnel(site, server=REDUNDANT, client=REDUNDANT) as t:
        result, loads = stream(t, upload=upload)
        assert [warnings(daemon) for daemon in (t.server, t.client)] == [0, 0]
    assert result.sent > 100
    assert (result.lost, result.duplicates) == (0, 0)
    assert min(loads) >= result.sent * SIZE


@pytest.mark.parametrize("number", [0, 1], ids=["the faster link", "the slower link"])
@pytest.mark.parametrize("fault", [{"loss": 20}, {"blackhole": 1}], ids=["loses packets", "falls silent"])
def test_not_one_packet_is_missing_when_a_link_fails(net: Net, fault: dict[str, float], number: int) -> None:
    site = build_site(net, LINKS)
    with tunnel(site, server=REDUNDANT, client=REDUNDANT) as t:
        result, _ = stream(t, upload=True, fault=lambda: site.set_link(number, **fault))
    assert result.sent > 100
    assert (result.lost, result.duplicates) == (0, 0)


def test_without_spread_it_is_minrtt_and_says_so_once(net: Net) -> None:
    site = build_site(net, LINKS)
    with tunnel(site, server=REDUNDANT, client=SINGLE) as t:
        for upload in (True, False):
            result, loads = stream(t, upload=upload)
            assert result.received > 100
            assert result.duplicates == 0
            assert loads[0] >= result.received * SIZE
            assert loads[1] < 0.2 * loads[0]
        assert [warnings(daemon) for daemon in (t.server, t.client)] == [1, 1]


def test_it_does_not_say_so_again_when_it_connects_anew(net: Net) -> None:
    site = build_site(net, LINKS)
    with server_daemon(site, REDUNDANT) as first, client_daemon(site, SINGLE) as client:
        first.process.kill()
        first.process.wait()
        client.wait_for("the loss is noticed", lambda: client.stats().get("state") != "up")
        with server_daemon(site, REDUNDANT):
            client.wait_for("an echo", lambda: ping(site.client, INNER, count=1).received)
        assert warnings(client) == 1
