"""Files in the state directory: replaced as a whole, and never a reason to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from mqvpn.daemon import statefile
from mqvpn.daemon.statefile import MAX_SIZE, StateFile, replace
from mqvpn.system.errors import OperationFailed
from tests.fakes.timeless import run
from tests.lab.child import in_child
from tests.lab.descriptors import without_descriptors


def load(path: Path) -> Any:
    return StateFile(str(path.parent), path.name, lambda: None).load()


async def written(path: Path, *values: Any) -> list[Any]:
    """What the file holds after each value was reported, and at the end."""
    value: Any = None
    file = StateFile(str(path.parent), path.name, lambda: value)
    found = []
    for value in values:  # noqa: B007 -- the snapshot takes it
        file.changed()
        await asyncio.sleep(0.1)
        found.append(load(path))
    await file.close()
    return [*found, load(path)]


def test_the_first_change_is_written_at_once_and_the_last_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert run(written(path, ["ä"], 2, 3)) == [["ä"], ["ä"], ["ä"], 3]
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


def test_changes_are_written_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statefile, "INTERVAL", 0.05)
    assert run(written(tmp_path / "state.json", 1, 2)) == [1, 2, 2]


def test_no_file_is_nothing_to_speak_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(tmp_path / "state.json") is None
    assert caplog.records == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (MAX_SIZE + 1)],
    ids=["empty", "torn", "no text", "deep", "large"],
)
def test_a_file_that_is_no_use(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    assert load(path) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(path) in caplog.text


def test_a_directory_in_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.json"
    path.mkdir()
    assert load(path) is None
    assert "Is a directory" in caplog.text


def test_what_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statefile, "INTERVAL", 0.01)
    assert run(written(tmp_path / "missing" / "state.json", 1, 2)) == [None, None, None]
    assert caplog.text.count("No such file or directory") == 1


def test_without_a_directory_nothing_is_kept() -> None:
    async def story() -> Any:
        file = StateFile(None, "state.json", lambda: 1)
        file.changed()
        await file.close()
        return file.load()

    assert run(story()) is None


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    path, target = tmp_path / "key", tmp_path / "target"
    target.write_bytes(b"not to be touched")
    (tmp_path / ".key.new").symlink_to(target)
    replace(path, b"new")
    assert (path.read_bytes(), target.read_bytes()) == (b"new", b"not to be touched")
    assert sorted(os.listdir(tmp_path)) == ["key", "target"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "state.json"
    run(written(path, [1]))
    monkeypatch.setattr(os, "fsync", no_space)
    assert run(written(path, [2])) == [[1], [1]]
    assert json.loads(path.read_text()) == [1]


def test_what_could_not_be_written_is_when_that_is_possible_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another change, and at the end at the latest."""
    monkeypatch.setattr(statefile, "INTERVAL", 0.05)

    async def body(*, wait: float) -> Any:
        folder = tmp_path / str(wait)
        file = StateFile(str(folder), "state.json", lambda: 1)
        file.changed()
        await asyncio.sleep(0.02)
        folder.mkdir()
        await asyncio.sleep(wait)
        found = load(folder / "state.json")
        await file.close()
        return found, load(folder / "state.json")

    assert run(body(wait=0.2)) == (1, 1)
    assert run(body(wait=0.0)) == (None, 1)


def test_without_a_descriptor_nothing_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written when there is one again; and who starts without one must not take a good file for none."""
    monkeypatch.setattr(statefile, "INTERVAL", 0.05)
    path = tmp_path / "state.json"

    async def body() -> Any:
        file = StateFile(str(tmp_path), path.name, lambda: 2)
        file.changed()
        await asyncio.sleep(0.1)
        path.unlink()
        with without_descriptors():
            file.changed()
            await asyncio.sleep(0.2)
        path.touch()
        with without_descriptors(), pytest.raises(OperationFailed, match="Too many open files"):
            file.load()
        await asyncio.sleep(0.2)
        found = load(path)
        await file.close()
        return found

    assert in_child(lambda: None, lambda: run(body())) == 2
