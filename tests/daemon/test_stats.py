"""The statistics file is replaced whole, and a path that cannot be written is said once."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mqvpn.daemon.stats import VARIABLE, report, write
from mqvpn.system.notify import Notifier
from tests.daemon.waiting import eventually


def test_write_replaces_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "stats.json")
    for state in ("connecting", "up"):
        assert not write(path, {"state": state})
        assert json.loads(Path(path).read_text()) == {"state": state}
    assert list(tmp_path.iterdir()) == [Path(path)]


def test_the_file_is_its_owner_s_and_no_link_is_followed(tmp_path: Path) -> None:
    """It holds who the server's users are; and whoever may write to its folder could have any file overwritten."""
    path, victim = tmp_path / "stats.json", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "stats.json.new").symlink_to(victim)
    former = os.umask(0o022)
    try:
        assert not write(str(path), {"clients": []})
    finally:
        os.umask(former)
    assert victim.read_text() == "precious"
    assert (path.is_symlink(), path.stat().st_mode & 0o777) == (False, 0o600)


def test_an_unwritable_path_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "no" / "stats.json"
    assert write(str(path), {})
    assert write(str(path), {}, True)
    assert caplog.text.count("no statistics in") == 1
    path.parent.mkdir()
    assert not write(str(path), {}, True)


def test_report_writes_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stats.json"
    monkeypatch.setenv(VARIABLE, str(path))
    monkeypatch.setattr("mqvpn.daemon.stats.INTERVAL", 0.01)
    counts = iter(range(1000))

    async def watch() -> None:
        task = asyncio.create_task(report(Notifier(), lambda: {"n": next(counts)}, lambda: "up"))
        await eventually(lambda: path.exists() and json.loads(path.read_text())["n"] >= 2)
        task.cancel()

    asyncio.run(watch())


def test_a_slow_disk_delays_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop that writes the file also moves the packets."""
    started, goes_on = threading.Event(), threading.Event()

    def slow(path: str, figures: dict[str, Any], failed: bool = False) -> bool:
        started.set()
        return not goes_on.wait(10)

    monkeypatch.setenv(VARIABLE, str(tmp_path / "stats.json"))
    monkeypatch.setattr("mqvpn.daemon.stats.write", slow)

    async def watch() -> None:
        begun = time.monotonic()
        task = asyncio.create_task(report(Notifier(), dict, lambda: "up"))
        await eventually(started.is_set)
        assert time.monotonic() - begun < 5
        goes_on.set()
        task.cancel()

    asyncio.run(watch())
