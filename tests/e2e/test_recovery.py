"""How fast a tunnel is back after links were dead, or the process slept: F5 and F12, and a start over a dead link."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from tests.lab.links import Shape
from tests.lab.net import Net
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import (
    INNER,
    Daemon,
    Tunnel,
    client_config,
    client_daemon,
    inner_addresses,
    server_daemon,
    tunnel,
)

pytestmark = [pytest.mark.netns, pytest.mark.pace]

MOST = 70  # seconds: a pause between two attempts, and one attempt
BACK = 5  # seconds after its links are back that a tunnel is
SHAPES = (Shape(rate=50, delay=10), Shape(rate=20, delay=25))


def blackhole(site: Site, *links: int, on: bool) -> None:
    for number in links:
        site.set_link(number, blackhole=on)


def until_echo(t: Tunnel, what: str) -> float:
    started = time.monotonic()
    t.client.wait_for("an echo", lambda: ping(t.site.client, INNER, count=1).received, timeout=MOST)
    took = time.monotonic() - started
    print(f"{what}: an echo after {took:.2f} s, the tunnel was up {t.client.log.read_text().count('tunnel up')} times")
    return took


@contextlib.contextmanager
def same_addresses(t: Tunnel) -> Iterator[None]:
    before = inner_addresses(t.site.client, "mqc0")
    yield
    assert inner_addresses(t.site.client, "mqc0") == before


def test_a_dead_first_link_delays_the_start_by_less_than_a_second(net: Net) -> None:
    site = build_site(net, SHAPES)
    took = []
    with server_daemon(site):
        for dead in (False, True):
            blackhole(site, 0, on=dead)
            started = time.monotonic()
            with client_daemon(site):
                took.append(time.monotonic() - started)
    print(f"up after {took[0]:.2f} s, with a dead first link after {took[1]:.2f} s")
    assert took[1] - took[0] < 1


@pytest.mark.long
def test_f5_one_link_that_dies_again_and_again(net: Net) -> None:
    """5 s dead, 2 s alive: no gap is longer than a few probe timeouts."""
    site = build_site(net, SHAPES)
    with tunnel(site) as t, Stream(site.client, site.server, INNER) as stream:
        for _ in range(3):
            blackhole(site, 0, on=True)
            time.sleep(5)
            blackhole(site, 0, on=False)
            time.sleep(2)
    print(f"longest gap {stream.result.longest_gap:.3f} s, lost {stream.result.lost}")
    assert stream.result.longest_gap < 1
    assert t.client.log.read_text().count("tunnel up") == 1


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, 30, 90, 600])
def test_f5_both_links_are_dead_for_a_while(net: Net, seconds: int) -> None:
    """Silence on a link, and its end, is no event on this machine: what brings the tunnel back is its own asking."""
    site = build_site(net, SHAPES)
    with tunnel(site) as t, same_addresses(t):
        blackhole(site, 0, 1, on=True)
        time.sleep(seconds)
        blackhole(site, 0, 1, on=False)
        assert until_echo(t, f"both dead for {seconds} s") < BACK


def test_dead_links_that_carry_again_end_a_long_wait(net: Net) -> None:
    """Behind the kill switch, while the next attempt is half a minute away at least."""
    site = build_site(net, SHAPES)
    blackhole(site, 0, 1, on=True)
    config = client_config(site, {"Interface": {"KillSwitch": "true", "ReconnectInterval": 60}})
    with server_daemon(site):
        client = Daemon(net, site.client, "client", "client", config)
        client.wait_for("a long wait", lambda: "next attempt in" in client.log.read_text(), timeout=20)
        time.sleep(6)
        assert "can be reached again" not in client.log.read_text()
        blackhole(site, 0, 1, on=False)
        started = time.monotonic()
        client.wait_for("a tunnel", lambda: "tunnel up" in client.log.read_text())
        print(f"up {time.monotonic() - started:.2f} s after the links were back")
        assert time.monotonic() - started < BACK
        client.stop()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10, 65])
def test_f12_a_process_that_slept_is_back_at_once(net: Net, seconds: int) -> None:
    """65 s are more than either end keeps a silent connection."""
    site = build_site(net, SHAPES)
    with tunnel(site) as t, same_addresses(t):
        t.client.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        t.client.process.send_signal(signal.SIGCONT)
        assert until_echo(t, f"asleep for {seconds} s") < 3
        if seconds > 15:
            assert "slept for" in t.client.log.read_text()


@pytest.mark.long
def test_f12_who_slept_in_a_pause_tries_at_once(net: Net) -> None:
    """The pause would last half a minute at least."""
    site = build_site(net, SHAPES)
    blackhole(site, 0, 1, on=True)
    client = Daemon(net, site.client, "client", "client", client_config(site, {"Interface": {"ReconnectInterval": 60}}))
    client.wait_for("a long wait", lambda: "next attempt in" in client.log.read_text(), timeout=20)
    client.process.send_signal(signal.SIGSTOP)
    time.sleep(8)
    assert client.stats()["attempts"] == 1
    client.process.send_signal(signal.SIGCONT)
    client.wait_for("the second attempt", lambda: client.stats()["attempts"] == 2, timeout=3)
    assert "slept for" in client.log.read_text()
    assert client.stop() == 0
