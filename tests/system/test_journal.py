"""Entries of the journal's protocol, against a socket that stands for journald; tests/machine has a real one."""

from __future__ import annotations

import array
import logging
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqvpn.system.journal import JournalHandler, encode, is_connected


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def log(tmp_path: Path, journald: socket.socket) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.journal")
    handler = JournalHandler({"MQVPN_INSTANCE": "home"}, str(tmp_path / "socket"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)
    handler.close()


def decode(entry: bytes) -> dict[str, str]:
    """What journald would make of an entry."""
    fields = {}
    while entry:
        head, _, entry = entry.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", entry)
            value, entry = entry[8 : 8 + size], entry[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_an_entry_has_the_message_its_priority_and_all_fields(log: logging.Logger, journald: socket.socket) -> None:
    log.warning("path %d is silent", 1, extra={"fields": {"MQVPN_PATH": "wlan0"}})
    entry = decode(journald.recv(10000))
    assert entry["MESSAGE"] == "path 1 is silent"
    assert (entry["PRIORITY"], entry["MQVPN_PATH"], entry["MQVPN_INSTANCE"]) == ("4", "wlan0", "home")
    assert (entry["LOGGER"], entry["CODE_FILE"]) == ("tests.journal", __file__)


@pytest.mark.parametrize(("level", "priority"), [(10, "7"), (20, "6"), (30, "4"), (40, "3"), (50, "3")])
def test_priorities(log: logging.Logger, journald: socket.socket, level: int, priority: str) -> None:
    log.log(level, "x")
    assert decode(journald.recv(10000))["PRIORITY"] == priority


def test_line_breaks_add_no_field() -> None:
    fields = {"MESSAGE": "bad\nPRIORITY=0\n", "MQVPN_REASON": "\n", "PRIORITY": "6", "X": "\udc80"}
    assert decode(encode(fields)) == fields | {"X": "\\udc80"}


def test_a_large_entry_goes_in_a_file(log: logging.Logger, journald: socket.socket) -> None:
    text = "x" * 1_000_000
    log.error("%s", text)
    message, ancillary, _, _ = journald.recvmsg(100, socket.CMSG_SPACE(4))
    assert message == b""
    fds = array.array("i", ancillary[0][2])
    with open(fds[0], "rb") as file:
        file.seek(0)
        assert decode(file.read())["MESSAGE"] == text


def test_a_journal_that_stands_still_holds_nothing_up(log: logging.Logger, journald: socket.socket) -> None:
    """Nobody reads: the first line that has no room waits a little, the others not at all, and they are counted."""
    handler = log.handlers[0]
    assert isinstance(handler, JournalHandler)
    begin, sent = time.monotonic(), 0
    while not handler._lost:
        log.info("%d", sent)
        sent += 1
    for _ in range(100):
        log.info("lost")
    log.info("x" * 1_000_000)
    assert time.monotonic() - begin < 2
    assert [decode(journald.recv(10000))["MESSAGE"] for _ in range(sent - 1)] == [str(n) for n in range(sent - 1)]
    log.info("after")
    complaint, after = (decode(journald.recv(10000)) for _ in range(2))
    assert (complaint["MESSAGE"], complaint["PRIORITY"]) == ("the journal had no room for 102 lines", "4")
    assert after["MESSAGE"] == "after"


def test_without_a_journal_nothing_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = JournalHandler({}, str(tmp_path / "nothing"))
    handler.emit(logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None))
    handler.close()


def test_the_journal_is_recognized_by_device_and_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    status = os.fstat(theirs)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert is_connected(theirs)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not is_connected(theirs)
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not is_connected(theirs)
    os.close(ours)
    os.close(theirs)
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert not is_connected(theirs)
