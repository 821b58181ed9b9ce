"""F11: a daemon dies (SIGKILL) before and after each change that it makes to the machine, and each that it takes back.

With the kill switch nothing leaks meanwhile, own or forwarded, --clean-up by the journal makes the machine as it was,
and a successor takes over. The points are those of mqvpn.system.change. Everything has an /etc of its own, for the DNS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mqvpn.system import block, change
from mqvpn.system.undo import Undo
from tests.e2e.test_dns import look, on_own_etc
from tests.e2e.test_kill_switch import SERVER, SHUT, chatter, is_up
from tests.lab.capture import Capture
from tests.lab.net import ROOT, Net, wait_for
from tests.lab.site import Site, network_behind
from tests.lab.tunnel import INNER, Daemon, client_config, server_config, server_daemon
from tests.system.inside import inside
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

SERVERS = {"nat", "nat-gone"}
CLIENTS = {"block", "block-lifted", "dns", "dns-back", "route", "route-gone", "rule", "rule-gone"}
ELSEWHERE = {"address-gone"}  # a client's when the server gives it others: tests/system/test_link.py
POINTS = [point for point in change.POINTS if point not in ELSEWHERE]
CLIENT_POINTS = [f"{p}:{when}" for p in POINTS if p not in SERVERS for when in ("before", "after")]
SERVER_POINTS = [f"{p}:{when}" for p in POINTS if p not in CLIENTS for when in ("before", "after")]
SUCCESSORS = 5
WITH_DNS = {"Interface": {**SHUT["Interface"], "DNS": INNER}}


@contextlib.contextmanager
def failing_at(point: str) -> Iterator[None]:
    """Daemons started in the block have this in their environment."""
    os.environ[change.VARIABLE] = point
    try:
        yield
    finally:
        del os.environ[change.VARIABLE]


def start(site: Site, mode: str, config: Path, fail_at: str = "") -> Daemon:
    with failing_at(fail_at) if fail_at else contextlib.nullcontext():
        return Daemon(site.net, site.server if mode == "server" else site.client, mode, mode, config)


def clean_up(daemon: Daemon) -> None:
    """By the journal alone: there is no such configuration."""
    argv = (sys.executable, "-m", "mqvpn.cli.main", "--mode", daemon.mode, "--config", "/nonexistent", "--clean-up")
    environment = os.environ | {"RUNTIME_DIRECTORY": str(daemon.control_socket.parent)}
    command = ("ip", "netns", "exec", daemon.namespace.name, *argv)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def leave_a_block(site: Site) -> None:
    """As a predecessor that was killed: what leaves before a first start is no leak."""
    journal = site.net.directory / "client.state"
    site.net.daemon_starts(site.client, journal)

    def body() -> None:
        Undo(journal).note(block="mqc0")
        block.apply(block.Block(name="mqc0", tun="mqc0", mark=0x6D71))

    inside(site.client, body)


def dies(daemon: Daemon, is_running: Callable[[], bool]) -> None:
    """It is killed by its fail-point, on its way up or, once it runs, on its way down."""
    wait_for("it runs or is dead", lambda: daemon.process.poll() is not None or is_running(), timeout=30)
    if daemon.process.poll() is None:
        daemon.process.terminate()
    assert daemon.process.wait(20) == -signal.SIGKILL, f"it did not die\n{daemon.tail()}"


def strict(site: Site) -> None:
    """So that there are kernel settings to change."""
    for uplink in site.uplinks:
        site.client.run("sysctl", "-qw", f"net.ipv4.conf.{uplink}.rp_filter=1")


def dns_is_set(site: Site) -> bool:
    return INNER in Path("/etc/resolv.conf").read_text() and is_up(site)


def runs_with_dns(site: Site, client: Daemon) -> bool:
    """Also by its own account: the file is written before it is told so."""
    return dns_is_set(site) and "DNS set by" in client.log.read_text()


def serves(server: Daemon) -> bool:
    return "serving UDP" in server.log.read_text()


def parts(points: list[str], number: int, count: int) -> list[str]:
    return [point for point, part in zip(points, itertools.cycle(range(count)), strict=False) if part == number]


def comes_up(site: Site, config: Path) -> tuple[Daemon, float]:
    """Start a client; how long it takes until it is up with its DNS."""
    started = time.monotonic()
    client = start(site, "client", config)
    client.wait_for("the tunnel with its DNS", lambda: dns_is_set(site))
    return client, time.monotonic() - started


@pytest.mark.parametrize("part", range(3))
def test_a_client_that_is_killed_leaks_nothing_and_is_cleaned_up(tmp_path: Path, part: int) -> None:
    def body(net: Net, site: Site) -> None:
        strict(site)
        lan = network_behind(site)
        before, etc = snapshot(site.client.name), look()
        config = client_config(site, WITH_DNS)
        for point in parts(CLIENT_POINTS, part, 3):
            leave_a_block(site)
            net.log("client.log").unlink(missing_ok=True)
            with Capture(site.client, site.uplinks) as capture, chatter(site.client), chatter(lan):
                client = start(site, "client", config, f"{point}:kill")
                dies(client, partial(runs_with_dns, site, client))
            if point != "block-lifted:after":  # the user's stop is carried out then
                assert capture.leaks([SERVER]) == [], point
            clean_up(client)
            assert (difference(before, snapshot(site.client.name)), look()) == ([], etc), point

    on_own_etc(tmp_path, lambda net, site: with_server(net, site, body))


def test_successors_take_over_from_every_point(tmp_path: Path) -> None:
    """One dies after the other, each later than the one before. The next is up in 5 s, and so are those after one that
    was killed when it was up; the last one's end is the end. It is the median that counts: most of the time goes into
    the start of Python, about 1 s of processor time, which is 5 s and more where others have the processors."""

    def body(net: Net, site: Site) -> None:
        strict(site)
        before, etc = snapshot(site.client.name), look()
        config = client_config(site, WITH_DNS)
        leave_a_block(site)
        with Capture(site.client, site.uplinks) as capture, chatter(site.client):
            points, deaths = [one for one in CLIENT_POINTS if one.partition(":")[0] in change.MADE], []
            for point in points:
                died = start(site, "client", config, f"{point}:kill")
                with contextlib.suppress(subprocess.TimeoutExpired):  # a sysctl that is so already
                    assert died.process.wait(3 if point.startswith("sysctl") else 30) == -signal.SIGKILL
                    deaths.append(point)
                died.process.kill()
                died.process.wait()
            assert {*points} - {*deaths} <= {"sysctl:before", "sysctl:after"}
            last, took = comes_up(site, config)
            times = [took]
            while len(times) < SUCCESSORS:
                last.process.kill()
                last.process.wait()
                last, took = comes_up(site, config)
                times.append(took)
            told = ", ".join(f"{took:.1f}" for took in times)
            print(f"up after a SIGKILL in {told} s: {statistics.median(times):.1f} s (median)")
            assert statistics.median(times) < 5
        assert capture.leaks([SERVER]) == []
        assert last.stop() == 0
        assert (difference(before, snapshot(site.client.name)), look()) == ([], etc)

    on_own_etc(tmp_path, lambda net, site: with_server(net, site, body))


@pytest.mark.parametrize("point", [point for point in change.MADE if point not in SERVERS])
def test_what_is_refused_ends_the_client_and_is_undone(tmp_path: Path, point: str) -> None:
    """All but the block, for this is no user's stop."""

    def body(net: Net, site: Site) -> None:
        strict(site)
        before, etc = snapshot(site.client.name), look()
        client = start(site, "client", client_config(site, WITH_DNS), f"{point}:before:ENOSPC")
        assert client.process.wait(30) == 1
        assert f"change {point}: No space left on device" in client.log.read_text()
        left = difference(before, snapshot(site.client.name))
        assert all("nftables" in line for line in left), left
        clean_up(client)
        assert (difference(before, snapshot(site.client.name)), look()) == ([], etc)

    on_own_etc(tmp_path, lambda net, site: with_server(net, site, body))


def test_a_server_that_is_killed_is_cleaned_up(tmp_path: Path) -> None:
    def body(net: Net, site: Site) -> None:
        before = snapshot(site.server.name)
        config = server_config(site)
        for point in SERVER_POINTS:
            net.log("server.log").unlink(missing_ok=True)
            server = start(site, "server", config, f"{point}:kill")
            dies(server, partial(serves, server))
            clean_up(server)
            assert difference(before, snapshot(site.server.name)) == [], point

    on_own_etc(tmp_path, body)


def with_server(net: Net, site: Site, body: Callable[[Net, Site], None]) -> None:
    with server_daemon(site):
        body(net, site)


def test_all_points_are_tested() -> None:
    tested = {point.partition(":")[0] for point in (*CLIENT_POINTS, *SERVER_POINTS)}
    assert tested | ELSEWHERE == set(change.POINTS)
    assert len(CLIENT_POINTS) + len(SERVER_POINTS) >= 40
