"""What is wrong, as a list of findings: of a running daemon, and of a configuration whose daemon does not run."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import load
from mqvpn.config.server import ServerSettings
from mqvpn.daemon import findings, machine
from mqvpn.daemon.aside import aside
from mqvpn.daemon.clientstatus import ClientStatus
from mqvpn.daemon.control import CallFailed, Parameters
from mqvpn.daemon.findings import OK, PROBLEM, WARNING, Finding
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.status import SCHEMA
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.certificate import read_pem, validity

FORWARD = {4: Path("/proc/sys/net/ipv4/ip_forward"), 6: Path("/proc/sys/net/ipv6/conf/all/forwarding")}

Values = Mapping[str, Any]


class Diagnosis:
    """The method Diagnose of a daemon: one at a time, beside the loop."""

    def __init__(self, status: ClientStatus | ServerStatus, netlink: Netlink) -> None:
        self._status = status
        self._netlink = netlink
        self._busy = False

    async def __call__(self, _: Parameters) -> Parameters:
        """The findings. Raises CallFailed while another call is on its way."""
        if self._busy:
            raise CallFailed("Busy", reason="somebody else is asking for this; try again in a few seconds")
        self._busy = True
        settings, told = self._status.settings, self._status()
        try:
            found = await aside(lambda: diagnose(settings, told, self._netlink), "diagnose")
        finally:
            self._busy = False
        return {"schema": SCHEMA, "findings": [asdict(finding) for finding in found]}


def diagnose(settings: ClientSettings | ServerSettings, told: Values | None, netlink: Netlink) -> list[Finding]:
    """What there is to say about a daemon; `told`: its status, None: it does not run. Takes some seconds."""
    now = time.time()
    try:
        if isinstance(settings, ClientSettings):
            return list(_client(settings, told, netlink, now))
        return list(_server(settings, told, now))
    except OperationFailed as error:
        return [Finding(PROBLEM, "machine", str(error))]


def of_file(file: Path) -> list[dict[str, Any]]:
    """What there is to say about a configuration whose daemon does not run, as plain values."""
    try:
        settings = load(file)
        with Netlink() as netlink:
            found = diagnose(settings, None, netlink)
    except ConfigError as error:
        found = [Finding(PROBLEM, "configuration", str(error))]
    return [asdict(finding) for finding in found]


def _client(settings: ClientSettings, told: Values | None, netlink: Netlink, now: float) -> Iterator[Finding]:
    for warning in settings.warnings:
        yield Finding(WARNING, "configuration", warning)
    if told is not None:
        yield from findings.of_tunnel(told)
        for path in told["paths"]:
            yield from findings.of_path(path)
    servers: list[tuple[str, int]] = []
    yield from machine.of_names(settings, servers)
    yield from machine.of_interfaces(settings, netlink, servers)
    yield from machine.of_dns()
    yield from machine.of_clock(now)
    if told is not None:
        if dates := told["server"]["certificate"]:
            yield findings.of_certificate(dates["valid_from"], dates["valid_until"], now)
        yield from findings.of_dns(told["dns"])
        yield from findings.of_drops(told)


def _server(settings: ServerSettings, told: Values | None, now: float) -> Iterator[Finding]:
    for warning in settings.warnings:
        yield Finding(WARNING, "configuration", warning)
    if told is not None:
        yield from findings.of_server(told)
        yield from _forwarding(settings)
    yield _certificate(settings, now)
    yield from machine.of_clock(now)
    if told is not None:
        yield from findings.of_drops(told)


def _certificate(settings: ServerSettings, now: float) -> Finding:
    try:
        dates = validity(read_pem(Path(settings.cert_file).read_bytes()))
    except OSError as error:
        return Finding(PROBLEM, "certificate", f"{settings.cert_file}: {error.strerror}")
    except DecodeError as error:
        return Finding(PROBLEM, "certificate", f"{settings.cert_file}: {error}")
    return findings.of_certificate(*dates, now)


def _forwarding(settings: ServerSettings) -> Iterator[Finding]:
    """Somebody may have switched it off since the server began."""
    for version in (4, 6) if settings.subnet6 is not None else (4,):
        try:
            forwards = FORWARD[version].read_text().strip() != "0"
        except OSError:
            forwards = False
        if not forwards:
            text = f"IPv{version} forwarding is off: clients reach this machine and nothing behind it"
            yield Finding(PROBLEM, "forwarding", text)
        else:
            yield Finding(OK, "forwarding", f"IPv{version} is forwarded")
