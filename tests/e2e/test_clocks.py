"""F13: the wall clock is stepped under both ends, or another one's clocks count from elsewhere: nobody is disconnected,
and who cannot trust a certificate because of its dates says what else may be wrong."""

from __future__ import annotations

import time

import pytest

from tests.e2e.test_control import call
from tests.lab.child import in_child
from tests.lab.clocks import WallClock, shift_monotonic
from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import INNER, Daemon, client_config, client_daemon, server_daemon, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

DAY = 86400


def told(daemon: Daemon) -> str:
    """What it says of its wall clock."""
    findings = call(daemon, "Diagnose")["parameters"]["findings"]
    [text] = [finding["text"] for finding in findings if finding["about"] == "clock"]
    return str(text)


def date(offset: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + offset))


def test_steps_of_a_day_disconnect_nobody(net: Net) -> None:
    clock = WallClock(net.directory)
    with clock.programs(), tunnel(build_site(net, [None, None])) as t, Stream(t.site.client, t.site.server, INNER) as s:
        for offset in (DAY, 0, -DAY, 0):
            clock.step(offset)
            time.sleep(1)
            if offset:
                assert date(offset) in told(t.client)
        clock.step(-DAY)
        assert t.client.active_uplinks() == set(t.site.uplinks)
    print(f"longest gap {s.result.longest_gap:.3f} s, lost {s.result.lost}")
    assert s.result.longest_gap < 0.5
    assert s.result.lost == 0
    log = t.client.log.read_text()
    assert (log.count("tunnel up"), log.count("is closed")) == (1, 0)
    assert t.server.log.read_text().count("connected") == 1


def test_ends_whose_clocks_count_from_other_times(net: Net) -> None:
    """As after a reboot of one of them: what either says of time is a duration."""

    def body() -> None:
        site = build_site(net, [None])
        with server_daemon(site):
            shift_monotonic(40 * DAY)
            with client_daemon(site) as client:
                assert ping(site.client, INNER).received == 3
                assert call(client, "Status")["parameters"]["up"] < 60

    in_child(lambda: None, body)


@pytest.mark.parametrize("offset", [-3650 * DAY, 3650 * DAY], ids=["late", "early"])
def test_a_certificate_that_is_not_valid_now_may_mean_a_wrong_clock(net: Net, offset: int) -> None:
    site = build_site(net, [None])
    with server_daemon(site):
        ca = str(net.directory / "server.crt")
        changes = {"Server": {"Insecure": "false", "CA": ca}, "Interface": {"Reconnect": "false"}}
        config = client_config(site, changes)
        clock = WallClock(net.directory)
        clock.step(offset)
        with clock.programs():
            client = Daemon(net, site.client, "client", "client", config)
        assert client.process.wait(20) == 77
        [line] = [line for line in client.log.read_text().splitlines() if "certificate is not trusted" in line]
        print(line)
        assert "or is this machine's clock wrong?" in line
