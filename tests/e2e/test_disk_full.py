"""F14: no room is left where the daemons keep their state, their undo journal, their logs. A tunnel that is up stays
up; a start that could not note what is to be undone changes nothing; nothing is left half written.

All files of these tests are in a small tmpfs of a mount namespace of their own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.mounts import mount, private_mounts
from tests.lab.net import Net, stop, wait_for
from tests.lab.site import Site, build_site
from tests.lab.traffic import Stream, ping
from tests.lab.tunnel import INNER, Daemon, client_config, inner_addresses, server_config, server_daemon, tunnel
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.netns

FILLER = "filler"
PAGE = 4096


def on_small_disk(body: Callable[[Net, Site], None]) -> None:
    def inside() -> None:
        with Net() as net:
            mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(net.directory))
            body(net, build_site(net, [None, None]))

    private_mounts(inside)


def fill(net: Net) -> None:
    """Until not a byte more can be written."""
    with net.log(FILLER).open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            return


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["client", "server"])
def test_a_start_without_room_for_the_journal_is_refused(mode: str) -> None:
    def body(net: Net, site: Site) -> None:
        namespace = site.client if mode == "client" else site.server
        before = snapshot(namespace.name)
        config = client_config(site) if mode == "client" else server_config(site)
        (net.directory / f"{mode}.state").mkdir()
        net.log(f"{mode}.log").write_bytes(bytes(PAGE - 1000))  # so that there is room for a line
        fill(net)
        daemon = Daemon(net, namespace, mode, mode, config, statistics=False)
        assert daemon.process.wait(20) == 74
        log = daemon.log.read_bytes().lstrip(b"\0").decode()
        print(log)
        assert "note in " in log
        assert "No space left on device; make room there" in log
        assert files(net.directory / f"{mode}.state") == []
        assert difference(before, snapshot(namespace.name)) == []

    on_small_disk(body)


def test_a_tunnel_that_is_up_stays_up_and_comes_back_and_ends_cleanly() -> None:
    def body(net: Net, site: Site) -> None:
        before = snapshot(site.client.name)
        qlog = net.directory / "qlog"
        qlog.mkdir()
        with tunnel(site, client={"Interface": {"QlogDir": str(qlog), "ReconnectInterval": 1}}) as t:
            with Stream(site.client, site.server, INNER) as stream:
                fill(net)
                site.set_uplink(1, up=False)
                t.client.wait_for("the kernel notices", lambda: ping(site.client, INNER).received == 3)
                site.set_uplink(1, up=True)
                addresses = inner_addresses(site.client, "mqc0")
            print(f"longest gap {stream.result.longest_gap:.3f} s")
            assert stream.result.longest_gap < 1
            t.server.process.kill()
            t.server.process.wait()
            net.log(FILLER).unlink()
            with server_daemon(site):
                fill(net)
                t.client.wait_for("it is connected again", lambda: ping(site.client, INNER).received == 3, timeout=30)
                assert inner_addresses(site.client, "mqc0") == addresses
                assert t.client.stop() == 0
        assert difference(before, snapshot(site.client.name)) == []
        for path in net.directory.rglob("*.json"):
            json.loads(path.read_text())
        assert [name for name in files(net.directory) if "new" in name or name.endswith(".mqvpn")] == []

    on_small_disk(body)


def test_who_cannot_log_works_and_ends_as_ever(net: Net) -> None:
    """/dev/full is a disk without room; the configuration has a warning that cannot be printed either."""
    site = build_site(net, [None])
    argv = (sys.executable, "-m", "mqvpn.cli.main", "--mode", "client", "--config", str(client_config(site)))
    state = net.directory / "client.state"
    state.mkdir()
    environment = os.environ | {"RUNTIME_DIRECTORY": str(state)}
    with server_daemon(site), open("/dev/full", "wb") as full:
        client = site.client.popen(*argv, env=environment, stdout=full, stderr=full)
        wait_for("it has addresses", lambda: inner_addresses(site.client, "mqc0"))
        assert ping(site.client, INNER).received == 3
        assert stop(client) == 0
