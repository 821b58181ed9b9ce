"""The cap of a path: counted over restarts; used up, a primary becomes a backup, and a backup is not used."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import transfer
from tests.lab.tunnel import INNER, Daemon, Sections, client_daemon, server_daemon

pytestmark = pytest.mark.netns


def paths(*lines: str) -> Sections:
    return {"Multipath": {"Path": lines}}


def backups(daemon: Daemon) -> dict[str, bool]:
    return {path["interface"]: path["backup"] for path in daemon.stats().get("paths", ())}


def test_a_cap_that_is_used_up(net: Net) -> None:
    site = build_site(net, [None, None])
    with server_daemon(site):
        with client_daemon(site, paths("up0", "up1; cap=3M/month")) as client:
            client.wait_for("two primaries", lambda: backups(client) == {"up0": False, "up1": False})
            transfer(site.client, site.server, INNER, seconds=2, streams=8)
            client.wait_for("a primary and a backup", lambda: backups(client) == {"up0": False, "up1": True})
            told = {one["name"]: one for one in client.stats()["interfaces"]}
            assert (told["up0"]["cap"], told["up1"]["cap"]) == (None, 3_000_000)
            # The kernel counts the headers of a super packet once, we those of each packet in it.
            assert 3_000_000 <= told["up1"]["used"] < 1.1 * sum(site.client.traffic("up1"))
            assert "up1: its cap is used up: it is a backup until the month ends" in client.log.read_text()
        usage = json.loads((net.directory / "client.state" / "usage.json").read_text())
        [month] = usage["up1"]["month"]
        assert re.fullmatch(r"\d{4}-\d\d", month)
        with client_daemon(site, paths("up0", "up1; cap=3M/month")) as client:
            client.wait_for("a backup from the start", lambda: backups(client) == {"up0": False, "up1": True})
        with client_daemon(site, paths("up0", "up1; role=backup; cap=3M/month")) as client:
            client.wait_for("its refusal", lambda: "up1: its cap is used up" in client.log.read_text())
            client.wait_for("the first path alone", lambda: backups(client) == {"up0": False})
