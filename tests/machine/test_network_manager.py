"""F19: systemd-networkd and NetworkManager delete what they do not know: ours comes back at once, and nothing leaks."""

from __future__ import annotations

import datetime
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_kill_switch import chatter
from tests.lab.capture import Capture
from tests.lab.net import program, wait_for
from tests.machine.tunnel import CLIENT, CLIENT_CONF, CLIENT_SECTIONS, SERVER_ADDRESS, Pair, configure

pytestmark = [pytest.mark.machine, pytest.mark.long]  # a root of its own is built
SHUT = dict(CLIENT_SECTIONS) | {"Interface": {"KillSwitch": "true"}}
UPLINKS = ("up0", "up1")
RESTARTS = 3
PROMISED = 0.2  # seconds, on a machine that does nothing else
BUSY = 2.0
RETURN = 30.0  # seconds
NETWORK = """[Match]
Name=up{number}
[Network]
Address=10.1.{number}.2/24
Address=2001:db8:1:{number}::2/64
IPv6AcceptRA=no
[Route]
Gateway=10.1.{number}.1
Metric=10{number}
[Route]
Gateway=2001:db8:1:{number}::1
Metric=10{number}
"""
PROFILE = """[connection]
id=up{number}
type=ethernet
interface-name=up{number}
[ipv4]
method=manual
address1=10.1.{number}.2/24,10.1.{number}.1
route-metric=10{number}
[ipv6]
method=manual
address1=2001:db8:1:{number}::2/64,2001:db8:1:{number}::1
route-metric=10{number}
"""
LINE = re.compile(r"\[(?P<time>[0-9T:.-]+)\] (?P<deleted>Deleted )?(?P<item>.* proto 171\b.*)")


@pytest.fixture
def shut(pair: Pair, tmp_path: Path) -> Iterator[Pair]:
    configure(pair.client, CLIENT_CONF, SHUT, tmp_path)
    pair.client.namespace.unchanged.but("up[01]")  # is theirs
    yield pair
    pair.client.run("systemctl", "stop", CLIENT)
    configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)


@pytest.fixture
def networkd(shut: Pair) -> Iterator[Pair]:
    """It has the client's uplinks."""
    for number in range(len(UPLINKS)):
        shut.client.write(f"/etc/systemd/network/{number}.network", NETWORK.format(number=number))
    shut.client.run("systemctl", "start", "systemd-networkd")
    wait_for("networkd has configured the uplinks", lambda: configured(shut) == {"configured"})
    yield shut
    shut.client.run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd")


def configured(pair: Pair) -> set[str]:
    """The states of the uplinks."""
    lines = pair.client.run("networkctl", "--no-pager", "--no-legend", "list", *UPLINKS).splitlines()
    return {line.split()[4] for line in lines}


@pytest.fixture
def manager(shut: Pair) -> Iterator[Pair]:
    """NetworkManager has the client's uplinks."""
    for number, uplink in enumerate(UPLINKS):
        name = f"/etc/NetworkManager/system-connections/{uplink}.nmconnection"
        shut.client.write(name, PROFILE.format(number=number), 0o600)
    shut.client.run("systemctl", "start", "NetworkManager")
    for uplink in UPLINKS:
        shut.client.run("nmcli", "connection", "up", uplink)
    yield shut
    shut.client.run("systemctl", "stop", "NetworkManager")


def test_a_restart_of_networkd(networkd: Pair, tmp_path: Path) -> None:
    client, record = networkd.client, tmp_path / "monitor"
    gaps: list[float] = []
    uplinks = Capture(client.namespace, UPLINKS)
    with program(client.namespace, "ip", "-ts", "monitor", "rule", "route", log=record):
        networkd.connect()
        with uplinks, chatter(client.namespace):
            for _ in range(RESTARTS):
                before = len(record.read_text())
                client.run("systemctl", "restart", "systemd-networkd")
                wait_for("networkd is done", lambda: configured(networkd) == {"configured"})
                gaps.append(wait_for_gap(record, before))
    print(f"rules and routes are back after {', '.join(f'{1000 * one:.0f} ms' for one in gaps)}")
    assert min(gaps) < PROMISED
    assert uplinks.leaks([(SERVER_ADDRESS, 443)]) == []
    networkd.wait_for_echo()


def test_networkmanager_switched_off_and_on_and_restarted(manager: Pair, tmp_path: Path) -> None:
    """Off, it takes the addresses of all interfaces away, those of our TUN too."""
    client, record = manager.client, tmp_path / "monitor"
    uplinks = Capture(client.namespace, UPLINKS)
    with program(client.namespace, "ip", "-ts", "monitor", "rule", "route", log=record):
        manager.connect()
        with uplinks, chatter(client.namespace):
            before = len(record.read_text())
            client.run("nmcli", "networking", "off")
            back = wait_for_gap(record, before)
            client.run("nmcli", "networking", "on")
            manager.wait_for_echo(RETURN)
            client.run("systemctl", "restart", "NetworkManager")
            client.run("nm-online", "--quiet", "--timeout=10")
            manager.wait_for_echo()
    print(f"rules and routes are back after {1000 * back:.0f} ms")
    assert back < BUSY
    assert uplinks.leaks([(SERVER_ADDRESS, 443)]) == []


def wait_for_gap(record: Path, before: int) -> float:
    """See gap(): in what was recorded behind that many characters."""
    wait_for("all is back", lambda: gap(record.read_text()[before:]), BUSY)
    time.sleep(0.3)  # and nothing more is deleted
    return gap(record.read_text()[before:])


def gap(record: str) -> float:
    """Seconds from the first of our rules and routes that is deleted to the last that is back; 0: not all are."""
    events = [match for match in map(LINE.match, record.splitlines()) if match]
    deleted = [event["item"] for event in events if event["deleted"]]
    missing = Counter(deleted) - Counter(event["item"] for event in events if not event["deleted"])
    times = [datetime.datetime.fromisoformat(event["time"]) for event in events]
    return (times[-1] - times[0]).total_seconds() if deleted and not missing else 0.0
