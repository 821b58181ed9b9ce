"""Descriptors that systemd passes and keeps, against a socket and processes that stand for it."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mqvpn.system import activation
from tests.lab.net import ROOT

PROGRAM = """
import json, os
from mqvpn.system.activation import inherited
found = inherited()
kept = [os.get_inheritable(fd) for fds in found.values() for fd in fds]
print(json.dumps({"found": found, "again": inherited(), "inheritable": kept}))
"""
FREE = 50  # descriptors from here on are not in use


def started(*passed: socket.socket | int, names: str = "", pid: str = "$$") -> dict[str, Any]:
    """What inherited() finds in a process that gets these descriptors as 3, 4, ..., as systemd passes them."""
    fds = [fcntl.fcntl(one, fcntl.F_DUPFD, FREE) for one in passed]
    moves = "".join(f"exec {activation.FIRST + number}<&{fd} {fd}<&-; " for number, fd in enumerate(fds))
    variables = f"LISTEN_FDS={len(fds)} LISTEN_PID={pid} LISTEN_FDNAMES={names}"
    script = f'{moves}export {variables}; exec "$0" -c "$1"'
    argv = ("bash", "-c", script, sys.executable, PROGRAM)
    done = subprocess.run(argv, pass_fds=fds, capture_output=True, text=True, cwd=ROOT)
    for fd in fds:
        os.close(fd)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        yield one


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        yield one


def test_descriptors_come_by_name_in_order(udp: socket.socket, unix: socket.socket) -> None:
    answer = started(udp, unix, udp, names="udp-eth0:tun:udp-eth0")
    assert answer["found"] == {"udp-eth0": [3, 5], "tun": [4]}


def test_sockets_of_our_units_are_told_apart_by_what_they_are(udp: socket.socket, unix: socket.socket) -> None:
    answer = started(udp, unix, udp, names="mqvpn:mqvpn:mqvpn")
    assert answer["found"] == {"udp": [3, 5], "control": [4]}


def test_they_are_found_once_and_not_passed_on(udp: socket.socket) -> None:
    answer = started(udp, names="udp")
    assert answer["again"] == {}
    assert answer["inheritable"] == [False]


def test_without_names_they_are_unknown(udp: socket.socket) -> None:
    assert started(udp)["found"] == {"unknown": [3]}


def test_those_of_another_process_are_not_ours(udp: socket.socket) -> None:
    assert started(udp, names="udp", pid="1")["found"] == {}
    assert started()["found"] == {}


def received(systemd: socket.socket) -> tuple[str, list[int]]:
    message, ancillary, _, _ = systemd.recvmsg(4096, socket.CMSG_SPACE(40))
    fds = array.array("i")
    for _, _, content in ancillary:
        fds.frombytes(content)
    return message.decode(), list(fds)


def test_store_sends_descriptors_that_systemd_does_not_watch(systemd: socket.socket, udp: socket.socket) -> None:
    activation.store("udp", udp.fileno())
    message, fds = received(systemd)
    assert message.splitlines() == ["FDSTORE=1", "FDNAME=udp", "FDPOLL=0"]
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(udp.fileno()).st_ino]
    os.close(fds[0])


def test_unstore(systemd: socket.socket) -> None:
    activation.unstore("tun")
    assert received(systemd) == ("FDSTOREREMOVE=1\nFDNAME=tun", [])


def test_the_barrier_waits_until_systemd_has_closed_its_end(systemd: socket.socket) -> None:
    closed = threading.Event()

    def answer() -> None:
        message, fds = received(systemd)
        assert message == "BARRIER=1"
        closed.wait(0.2)
        closed.set()
        os.close(fds[0])

    thread = threading.Thread(target=answer)
    thread.start()
    assert activation.barrier(5)
    assert closed.is_set()
    thread.join()


def test_the_barrier_gives_up(systemd: socket.socket) -> None:
    assert not activation.barrier(0.05)


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0mqvpn-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@mqvpn-test-{os.getpid()}")
        activation.unstore("tun")
        assert listener.recv(100).startswith(b"FDSTOREREMOVE=1")


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, udp: socket.socket) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    activation.store("udp", udp.fileno())
    assert not activation.barrier(1)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    assert not activation.notify("READY=1")
