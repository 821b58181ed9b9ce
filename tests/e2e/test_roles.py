"""A backup path carries nothing while a primary one works, takes over at once, and a reload changes who is which."""

from __future__ import annotations

import signal

import pytest

from tests.lab.net import Net
from tests.lab.site import build_site
from tests.lab.traffic import ping, transfer
from tests.lab.tunnel import INNER, Daemon, Tunnel, tunnel

pytestmark = [pytest.mark.netns, pytest.mark.pace]

FEW = 100_000  # bytes: acknowledgements, probes and keep-alives of some seconds


def paths_of(daemon: Daemon) -> list[dict[str, int]]:
    """Its paths, as the statistics tell, by ID."""
    stats = daemon.stats()
    return sorted(stats.get("paths") or stats["clients"][0]["paths"], key=lambda path: path["id"])


def backups(daemon: Daemon) -> list[bool]:
    return [bool(path["backup"]) for path in paths_of(daemon)]


def loads(t: Tunnel) -> list[int]:
    """Bytes that each path carried, both directions, while TCP ran up."""

    def sums() -> list[int]:
        t.client.wait_for("new statistics", lambda: t.client.stats() != before)
        return [path["tx_bytes"] + path["rx_bytes"] for path in paths_of(t.client)]

    before = t.client.stats()
    earlier = sums()
    transfer(t.site.client, t.site.server, INNER, seconds=2, streams=4)
    before = t.client.stats()
    return [now - was for now, was in zip(sums(), earlier, strict=True)]


def test_a_backup_waits_takes_over_and_is_made_a_primary_by_a_reload(net: Net) -> None:
    site = build_site(net, [None, None])
    first, second = site.uplinks
    config = net.directory / "client.conf"
    with tunnel(site, client={"Multipath": {"Path": site.uplinks}}) as t:
        plain = config.read_text()

        def reload(text: str, expected: list[bool]) -> None:
            config.write_text(text)
            t.client.process.send_signal(signal.SIGHUP)
            t.client.wait_for("roles at the client", lambda: backups(t.client) == expected, timeout=5)
            t.server.wait_for("roles at the server", lambda: backups(t.server) == expected, timeout=5)

        lines = plain.replace(f"Path = {second}", f"Path = {second}; role=backup")
        reload(lines, [False, True])
        active, waiting = loads(t)
        assert waiting < FEW < active

        reload(plain, [False, False])
        assert min(loads(t)) > FEW
        assert t.client.stats()["attempts"] == 0

        reload(lines, [False, True])
        site.client.unchanged.but_interfaces(first)
        site.client.ip("link", "set", first, "down")
        assert ping(site.client, INNER, count=5).received >= 4
