"""What systemd is about to do with our unit. tests/machine asks a real one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mqvpn.system import unit


def test_outside_of_a_unit_nothing_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_RESULT", raising=False)
    assert not unit.starts_again("mqvpn-server.service")


@pytest.mark.parametrize(
    ("job", "result", "status", "expected"),
    [
        ("", "success", "0", False),  # it ended by itself
        ("", "signal", "KILL", True),
        ("", "watchdog", "ABRT", True),
        ("", "exit-code", "1", True),
        ("", "exit-code", "77", False),
        ("", "exit-code", "78", False),
        ("stop", "success", "0", False),
        ("stop", "timeout", "KILL", False),
        ("restart", "success", "0", True),
        ("restart", "timeout", "KILL", True),
    ],
)
def test_the_pending_job_decides_then_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, result: str, status: str, expected: bool
) -> None:
    line = f"185 mqvpn-server.service {job} running" if job else ""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho '7 other.service stop waiting'\necho '{line}'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SERVICE_RESULT", result)
    monkeypatch.setenv("EXIT_STATUS", status)
    assert unit.starts_again("mqvpn-server.service") is expected


@pytest.mark.parametrize(
    ("job", "result", "expected"),
    [("", "success", True), ("stop", "timeout", True), ("", "exit-code", False), ("restart", "timeout", False)],
)
def test_who_stopped_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, result: str, expected: bool
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho '{'1 a.service ' + job + ' running' if job else ''}'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SERVICE_RESULT", result)
    assert unit.stops_for_good("a.service") is expected


@pytest.mark.parametrize(("state", "expected"), [("failed", False), ("inactive", True)])
def test_the_socket_unit_asks_how_its_service_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, expected: bool
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "is-failed a.service" ] && echo {state}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("MQVPN_UNIT", "a.service")
    assert not unit.starts_again("")
    assert unit.stops_for_good("") is expected


@pytest.mark.parametrize(("state", "expected"), [("stopping", True), ("running", False), ("", False)])
def test_whether_the_machine_goes_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, expected: bool
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = is-system-running ] && echo {state}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert unit.machine_stops() is expected


@pytest.mark.parametrize("name", ["{folder}/notify", "@mqvpn-test-{pid}"], ids=["file", "abstract"])
def test_whether_systemd_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its socket remains, as a file, when it is replaced by systemd-shutdown; the socket of one that lives is open."""
    path = name.format(folder=tmp_path, pid=os.getpid())
    address = path.replace("@", "\0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        assert not unit.machine_stops()
    assert unit.machine_stops()
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/never")
    assert not unit.machine_stops()
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not unit.machine_stops()


def test_a_systemctl_that_is_missing_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unit.pending_job("mqvpn-server.service") == ""
