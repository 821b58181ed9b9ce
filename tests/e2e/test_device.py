"""The TUN device is deleted under a daemon (F17): it is made anew, the session lives, and nothing leaks meanwhile."""

from __future__ import annotations

import os
import time

import pytest

from tests.lab.capture import Capture
from tests.lab.net import Namespace, Net, run, wait_for
from tests.lab.site import SERVER_ADDRESSES, build_site
from tests.lab.traffic import ping
from tests.lab.tunnel import INNER, PORT, tunnel
from tests.system.snapshot import difference, snapshot

pytestmark = [pytest.mark.netns, pytest.mark.pace]

SERVER = (SERVER_ADDRESSES[0], PORT)
SOON = 5.0  # seconds; 2 are promised for a machine that does nothing else
FAR = "203.0.113.9"


def answers(namespace: Namespace) -> bool:
    return "1 received" in namespace.run("ping", "-n", "-c1", "-W0.2", INNER, check=False)


@pytest.mark.parametrize("end", ["client", "server"])
def test_it_comes_back_and_the_session_lives(net: Net, end: str) -> None:
    site = build_site(net, [None])
    namespaces = (site.client.name, site.server.name)
    before = [snapshot(name) for name in namespaces]
    with tunnel(site) as t, Capture(site.client, site.uplinks) as capture:
        daemon, interface = (t.client, "mqc0") if end == "client" else (t.server, "mqs0")
        steady = site.client.popen("ping", "-n", "-i", "0.005", "-w", "6", FAR, stdout=-3, stderr=-3)
        for _ in range(3):
            began = time.monotonic()
            daemon.namespace.ip("link", "delete", interface)
            wait_for("an echo through the tunnel", lambda: answers(site.client), timeout=SOON)
            print(f"{end}: answers again after {time.monotonic() - began:.3f} s")
        steady.terminate()
        steady.wait()
        used = _cpu_seconds(daemon.process.pid)
        time.sleep(1)
        assert _cpu_seconds(daemon.process.pid) - used < 0.5, "a loop that turns without work"
        assert t.server.log.read_text().count(" connected") == 1
        assert ping(site.client, INNER).received == 3
        assert [t.client.stop(), t.server.stop()] == [0, 0]
    assert capture.leaks([SERVER]) == []
    for was, name in zip(before, namespaces, strict=True):
        assert difference(was, snapshot(name)) == []


def test_who_keeps_deleting_it_ends_the_daemon_but_not_its_block(net: Net) -> None:
    site = build_site(net, [None])
    kill_switch = {"Interface": {"KillSwitch": "true"}}
    with tunnel(site, client=kill_switch) as t, Capture(site.client, site.uplinks) as capture:
        give_up = time.monotonic() + 20
        while t.client.process.poll() is None and time.monotonic() < give_up:
            run("ip", "-n", site.client.name, "link", "delete", "mqc0", check=False)
            site.client.run("ping", "-n", "-c1", "-W0.1", FAR, check=False)
        assert t.client.process.wait(5) == 1
        assert "somebody keeps deleting the TUN device mqc0" in t.client.log.read_text()
        site.client.run("ping", "-n", "-c1", "-W0.1", FAR, check=False)
    assert capture.leaks([SERVER]) == []


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
