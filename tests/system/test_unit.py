"""What systemd is about to do with our unit. tests/machine asks a real one."""

from __future__ import annotations

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


def test_a_systemctl_that_is_missing_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unit.pending_job("mqvpn-server.service") == ""
