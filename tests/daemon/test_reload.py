"""A reload changes what it can and names the rest; a wrong configuration changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.daemon.exit import Unusable
from mqvpn.daemon.reload import Reload, ReloadRefused
from mqvpn.system.notify import Notifier

TEXT = "[Interface]\nListen = [::]:443\nLogLevel = {level}\nSubnet = {subnet}\n[Auth]\nKey = k\nMaxClients = {max}\n"


class Daemon:
    """A configuration file, and a daemon that remembers what was applied."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "server.conf"
        self.write()
        self.refuses = False
        self.applied: list[ServerSettings] = []
        self.notes: list[tuple[str, ...]] = []

    def write(self, level: str = "info", subnet: str = "10.0.0.0/24", limit: str = "64") -> None:
        self.file.write_text(TEXT.format(level=level, subnet=subnet, max=limit))
        self.file.chmod(0o600)

    def load(self) -> ServerSettings:
        settings = load(self.file)
        assert isinstance(settings, ServerSettings)
        return settings

    def apply(self, settings: ServerSettings) -> None:
        if self.refuses:
            raise Unusable("the key does not belong to the certificate")
        self.applied.append(settings)

    def reload(self) -> Reload[ServerSettings]:
        return Reload(self.load(), self.load, self.apply, ("log_level", "max_clients"), Notifier())


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


def test_what_can_be_applied_is_and_the_rest_is_named_every_time(daemon: Daemon) -> None:
    async def run() -> None:
        reload = daemon.reload()
        assert reload() == ()
        daemon.write(level="debug", subnet="10.9.0.0/24", limit="5")
        for _ in range(2):
            assert reload() == ("[Interface] Subnet: takes effect with a restart",)
        daemon.write()
        assert reload() == ()

    asyncio.run(run())
    logging.getLogger("mqvpn").setLevel(logging.NOTSET)
    assert [settings.max_clients for settings in daemon.applied] == [64, 5, 5, 64]
    assert {str(settings.subnet) for settings in daemon.applied} == {"10.0.0.0/24"}


def test_the_log_level_changes(daemon: Daemon) -> None:
    async def run() -> None:
        reload = daemon.reload()
        daemon.write(level="debug")
        reload()

    asyncio.run(run())
    assert logging.getLogger("mqvpn").level == logging.DEBUG
    logging.getLogger("mqvpn").setLevel(logging.NOTSET)


def test_a_wrong_file_changes_nothing(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        reload = daemon.reload()
        daemon.write(limit="many")
        with pytest.raises(ReloadRefused, match=rf"^{daemon.file}:7: \[Auth\] MaxClients: write a number"):
            reload()
        daemon.write(limit="3")
        daemon.refuses = True
        with pytest.raises(ReloadRefused, match="the key does not belong to the certificate"):
            reload()

    asyncio.run(run())
    assert daemon.applied == []
    assert caplog.text.count("not reloaded, nothing is changed: ") == 2


def test_a_file_for_the_other_end_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    client = tmp_path / "client.conf"
    client.write_text("[Server]\nAddress = vpn.example\n")

    async def run() -> None:
        reload = Reload(daemon.load(), lambda: load(client), daemon.apply, (), Notifier())
        with pytest.raises(ReloadRefused, match="no longer for the same end"):
            reload()

    asyncio.run(run())


def test_sighup_reloads_and_survives_a_wrong_file(daemon: Daemon) -> None:
    async def run() -> None:
        daemon.reload()
        for limit in ("many", "7"):
            daemon.write(limit=limit)
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.05)

    asyncio.run(run())
    assert [settings.max_clients for settings in daemon.applied] == [7]


def test_systemd_is_told_around_it(daemon: Daemon, systemd: socket.socket) -> None:
    notifier = Notifier()

    async def run() -> None:
        reload = Reload(daemon.load(), daemon.load, daemon.apply, (), notifier)
        reload()  # before READY nothing is told: it would count as the end of the start
        notifier.ready()
        reload()
        daemon.write(limit="many")
        with pytest.raises(ReloadRefused):
            reload()

    asyncio.run(run())
    told = [systemd.recv(100).decode().splitlines() for _ in range(5)]
    assert [lines[0] for lines in told] == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
    assert told[1][1].startswith("MONOTONIC_USEC=")


