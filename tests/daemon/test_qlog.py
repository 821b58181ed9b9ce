"""The files of a qlog: whole records, a limit for each and for all, a full disk."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mqvpn.daemon import qlog
from mqvpn.daemon.qlog import Files, Qlog
from mqvpn.daemon.timerfd import clock
from mqvpn.system.errors import OperationFailed
from mqvpn.tunnel.qlog import Record, Trace
from tests.daemon.waiting import eventually
from tests.tunnel.pair import End, Network, is_up


def connected(tmp_path: Path) -> tuple[Network, End]:
    network = Network(tmp_path)
    return network, network.client()


def trace(tmp_path: Path) -> Trace:
    """The trace of a connection that is up."""
    network, client = connected(tmp_path)
    client.tunnel.recorder = qlog.Recorder()
    network.start(client)
    assert network.run_until(lambda: is_up(client))
    client.tunnel.recorder.sample(network.now)
    ((found, _),) = client.tunnel.recorder.take()
    return found


def records(count: int) -> list[Record]:
    return [Record(1000.0 + number, 0, "test:event", {"number": number}) for number in range(count)]


def parse(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_bytes().split(b"\x1e")[1:]]


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.sqlog"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "qlog"
    made.mkdir()
    return made


def test_a_file_for_each_connection(tmp_path: Path, directory: Path) -> None:
    found = trace(tmp_path)
    output = Files(str(directory), 1_700_000_000.0 - 1000.0)
    output.append(found, records(2))
    output.append(found, records(3))
    (file,) = files(directory)
    assert file.name == f"mqvpn-20231114T221320Z-{found.odcid}-client-1.sqlog"
    assert file.stat().st_mode & 0o777 == 0o600
    head, *events = parse(file)
    assert head["trace"]["common_fields"]["ODCID"] == found.odcid
    assert [event["data"]["number"] for event in events] == [0, 1, 0, 1, 2]


def test_a_full_file_is_followed_by_another(tmp_path: Path, directory: Path) -> None:
    found = trace(tmp_path)
    output = Files(str(directory), 0.0, max_file=2000)
    for _ in range(10):
        output.append(found, records(5))
    assert len(files(directory)) >= 3
    assert all(file.stat().st_size <= 2000 for file in files(directory))
    assert {parse(file)[0]["qlog_format"] for file in files(directory)} == {"JSON-SEQ"}
    assert sum(len(parse(file)) - 1 for file in files(directory)) == 50


def test_the_oldest_files_make_room(tmp_path: Path, directory: Path) -> None:
    old, strange = directory / "mqvpn-20200101T000000Z-00-client-1.sqlog", directory / "other.sqlog"
    old.write_bytes(bytes(10_000))
    strange.write_bytes(bytes(10_000))
    os.utime(old, (1, 1))
    found = trace(tmp_path)
    output = Files(str(directory), 0.0, max_file=2000, max_total=20_000)
    for _ in range(50):
        output.append(found, records(5))
        blocks = [max(4096, file.stat().st_size) for file in files(directory) if file != strange]
        assert sum(blocks) <= 20_000
    assert not old.exists()
    assert strange.exists()


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_directory_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "qlog"
    if kind == "a file":
        path.write_text("")
    with pytest.raises(OperationFailed, match=r"qlog in .*/qlog: (No such file|Not a directory).*; make a directory"):
        Qlog(str(path))


def test_a_directory_that_cannot_be_written_to(directory: Path) -> None:
    """Root may write everywhere: so another user tries."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot become another user")
    program = (
        "import os, sys; from mqvpn.daemon.qlog import Files\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: Files('/', 0.0)\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("qlog in /: cannot be written to; "), done.stderr


def test_a_full_disk_ends_the_log_and_nothing_else(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, client = connected(tmp_path)
    room = 3000
    write = os.write

    def limited(file: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        done = write(file, data[:room])
        room -= done
        return done

    async def play() -> None:
        with Qlog(str(directory)) as log:
            client.tunnel.recorder = log.recorder
            network.start(client)
            for _ in range(100):
                network.run(0.05)
                log.write(network.now)
            assert is_up(client)

    caplog.set_level(logging.WARNING)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", limited)
        asyncio.run(play())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "No space left on device" in caplog.text
    assert str(directory) in caplog.text
    (file,) = files(directory)
    parse(file)  # what was cut off is gone again


def test_it_samples_and_writes_by_itself(tmp_path: Path, directory: Path) -> None:
    network, client = connected(tmp_path)
    network.now = clock()

    async def play() -> None:
        with Qlog(str(directory)) as log:
            client.tunnel.recorder = log.recorder
            network.start(client)
            network.run(1.0)
            await eventually(lambda: len(files(directory)) == 1)
            client.tunnel.close(network.now)  # type: ignore[attr-defined]
            network.settle(client)

    asyncio.run(play())
    (file,) = files(directory)
    names = [event["name"] for event in parse(file)[1:]]
    assert [name for name in names if name != "transport:packet_sent"][-1] == "connectivity:connection_closed"


def test_off_by_default(tmp_path: Path) -> None:
    async def play() -> None:
        with Qlog("") as log:
            assert log.recorder is None

    asyncio.run(play())
