"""sd_notify against a socket that stands for systemd's."""

from __future__ import annotations

import os
import socket
import time

import pytest

from mqvpn.system.notify import Notifier


def test_each_call_is_one_message(systemd: socket.socket) -> None:
    notifier = Notifier()
    notifier.ready()
    notifier.status("Connected; 2/2 paths")
    notifier.watchdog()
    notifier.stopping()
    messages = [systemd.recv(1000).decode() for _ in range(4)]
    assert messages == ["READY=1", "STATUS=Connected; 2/2 paths", "WATCHDOG=1", "STOPPING=1"]


def test_a_status_is_one_line_of_ascii(systemd: socket.socket) -> None:
    Notifier().status("caf\u00e9 \u2192 up\nREADY=1")
    assert systemd.recv(1000) == b"STATUS=caf? ? up READY=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval_is_half_of_what_systemd_allows(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    assert Notifier().watchdog_interval == expected


def test_a_reload_is_told_between_its_ends(systemd: socket.socket) -> None:
    notifier = Notifier()
    notifier.reloading()  # before READY, its end would count as that of the start
    notifier.reloaded()
    notifier.ready()
    notifier.reloading()
    notifier.reloaded()
    messages = [systemd.recv(1000).decode().splitlines() for _ in range(3)]
    assert [message[0] for message in messages] == ["READY=1", "RELOADING=1", "READY=1"]
    assert int(messages[1][1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic() * 1e6


def test_a_failure_leaves_its_reason_and_errno(systemd: socket.socket) -> None:
    Notifier().failed(13, "no right to")
    assert [systemd.recv(1000).decode() for _ in range(2)] == ["STATUS=no right to", "ERRNO=13"]
