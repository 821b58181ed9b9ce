"""The control socket under real peers: who may call what, and that floods, nonsense and slow readers stall nothing."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mqvpn.daemon.control import ADMINS, OTHERS, CallFailed, Control, Limits, Method, Pace
from mqvpn.system.unixsocket import Peer, open_listener
from tests.fakes.stranger import NOBODY, connect_as, open_folder

root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot be another user")
Talk = Callable[[Path], Awaitable[None]]


def fail(_: Any) -> dict[str, Any]:
    raise CallFailed("Unwell", since=3)


def break_down(_: Any) -> dict[str, Any]:
    raise RuntimeError("a bug")


async def later(parameters: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return {"later": parameters}


METHODS = {
    "mqvpn.Control.Echo": Method(lambda parameters: parameters),
    "mqvpn.Control.Later": Method(later),
    "mqvpn.Control.Fail": Method(fail),
    "mqvpn.Control.Bug": Method(break_down),
    "mqvpn.Control.Huge": Method(lambda _: {"text": "x" * 4_000_000}),
    "mqvpn.Control.Secret": Method(lambda _: {"secret": 1}, privileged=True),
}


def serving(talk: Talk, **limits: Limits) -> None:
    """Run `talk` beside a Control that answers METHODS."""

    async def both(folder: Path) -> None:
        with open_listener(folder / "s") as listener, Control(listener, METHODS, **limits):
            await asyncio.wait_for(talk(folder / "s"), 20)

    with open_folder() as folder:
        asyncio.run(both(folder))


async def exchange(connection: socket.socket, *requests: bytes) -> list[dict[str, Any]]:
    """Send the requests, and read until the end or as many answers."""
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 23)
    writer.write(b"".join(requests))
    answers = []
    for request in requests:
        line = await reader.readuntil(request[-1:])
        answers.append(json.loads(line[:-1]))
    writer.close()
    return answers


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def request(method: str, end: bytes = b"\n", **parameters: Any) -> bytes:
    return json.dumps({"method": f"mqvpn.Control.{method}", "parameters": parameters}).encode() + end


def test_answers_and_errors() -> None:
    async def talk(path: Path) -> None:
        answers = await exchange(
            connect(path),
            request("Echo", a=1),
            request("Later", b"\0", b=2),
            request("Fail"),
            request("Bug"),
            request("None"),
            b'{"method": "mqvpn.Control.Echo"}\n',
        )
        assert answers == [
            {"parameters": {"a": 1}},
            {"parameters": {"later": {"b": 2}}},
            {"error": "mqvpn.Control.Unwell", "parameters": {"since": 3}},
            {"error": "mqvpn.Control.InternalError", "parameters": {}},
            {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "mqvpn.Control.None"}},
            {"parameters": {}},
        ]

    serving(talk)


def test_oneway_calls_are_not_answered() -> None:
    async def talk(path: Path) -> None:
        oneway = b'{"method": "mqvpn.Control.Echo", "parameters": {"a": 1}, "oneway": true}\n'
        connection = connect(path)
        connection.sendall(oneway)
        assert await exchange(connection, request("Echo", b=2)) == [{"parameters": {"b": 2}}]

    serving(talk)


@pytest.mark.parametrize("line", [b"{\n", b"[]\n", b"1\n", b'{"method": 3}\n', b"[" * 4000 + b"\n", b"\xff\n", b"\n"])
def test_nonsense_is_refused(line: bytes) -> None:
    async def talk(path: Path) -> None:
        [answer] = await exchange(connect(path), line)
        assert answer["error"] == "mqvpn.Control.BadRequest"

    serving(talk)


def test_parameters_are_an_object() -> None:
    async def talk(path: Path) -> None:
        [answer] = await exchange(connect(path), b'{"method": "mqvpn.Control.Echo", "parameters": [1]}\n')
        assert answer["error"] == "org.varlink.service.InvalidParameter"

    serving(talk)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_request_that_is_too_long_ends_the_connection(end: bytes) -> None:
    async def talk(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"x" * (ADMINS.request + 1) + end)
        answer = json.loads(await reader.readline())
        assert answer["parameters"] == {"reason": "longer than 4096 bytes"}
        assert await _ended(reader)

    serving(talk)


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:  # what it had not read yet
        return True


@root
def test_others_may_not_change() -> None:
    async def talk(path: Path) -> None:
        secret, echo = request("Secret"), request("Echo")
        answers = await exchange(connect_as(path, NOBODY), secret, echo)
        assert answers == [
            {"error": "mqvpn.Control.PermissionDenied", "parameters": {"group": "mqvpn-admin"}},
            {"parameters": {}},
        ]
        assert await exchange(connect(path), secret) == [{"parameters": {"secret": 1}}]

    serving(talk)


@root
@pytest.mark.parametrize("place", [0, 1])
def test_members_of_the_group_may(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    group = grp.getgrall()[-1]
    groups = [NOBODY, group.gr_gid] if place else [group.gr_gid]
    monkeypatch.setattr("mqvpn.daemon.control.ADMIN_GROUP", group.gr_name)

    async def talk(path: Path) -> None:
        assert await exchange(connect_as(path, NOBODY, groups), request("Secret")) == [{"parameters": {"secret": 1}}]

    serving(talk)


@root
def test_a_group_that_cannot_be_looked_up_stalls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be kept by a server that does not answer: the loop goes on, and the peer reads what everybody may."""
    answer = threading.Event()
    monkeypatch.setattr("mqvpn.daemon.control.LOOKUP", 0.3)
    monkeypatch.setattr(Peer, "is_member", lambda self, group: answer.wait(10))

    async def talk(path: Path) -> None:
        began = time.monotonic()
        stranger = asyncio.create_task(exchange(connect_as(path, NOBODY), request("Secret"), request("Echo")))
        await asyncio.sleep(0.1)
        assert await exchange(connect(path), request("Secret")) == [{"parameters": {"secret": 1}}]
        assert time.monotonic() - began < 5
        refused, echo = await stranger
        assert (refused["error"], echo) == ("mqvpn.Control.PermissionDenied", {"parameters": {}})
        answer.set()

    serving(talk)


@root
def test_others_cannot_lock_admins_out() -> None:
    async def talk(path: Path) -> None:
        held = []
        for _ in range(2):
            held.append(connect_as(path, NOBODY))
            await asyncio.sleep(0.05)
        with connect_as(path, NOBODY) as third:
            third.settimeout(0)
            loop = asyncio.get_running_loop()
            answer = json.loads(await loop.sock_recv(third, 4096))
            assert answer["error"] == "mqvpn.Control.TooManyConnections"
        assert await exchange(connect(path), request("Echo")) == [{"parameters": {}}]
        for connection in held:
            connection.close()

    serving(talk, others=Limits(connections=2, calls=10))


def test_a_silent_peer_is_shown_out() -> None:
    async def talk(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"method"')
        began = time.monotonic()
        assert await reader.read() == b""
        assert 0.15 < time.monotonic() - began < 2

    serving(talk, admins=Limits(connections=4, calls=100, idle=0.2))


def test_a_slow_reader_loses_its_connection_and_stalls_nobody() -> None:
    async def talk(path: Path) -> None:
        slow = connect(path)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(request("Huge"))
        began = time.monotonic()
        for _ in range(10):
            assert await exchange(connect(path), request("Echo")) == [{"parameters": {}}]
        assert time.monotonic() - began < 1.5
        await asyncio.sleep(2)
        slow.settimeout(0)
        received = 0
        while part := slow.recv(1 << 20):  # BlockingIOError: the connection would still be open
            received += len(part)
        assert received < 4_000_000

    serving(talk, admins=Limits(connections=20, calls=100, answer=1.5))


@pytest.mark.pace
def test_a_flood_leaves_the_loop_its_turns() -> None:
    """Whoever calls without end is slowed down, and everything else on the loop goes on."""

    async def talk(path: Path) -> None:
        flood = connect(path)
        flood.settimeout(0)
        loop = asyncio.get_running_loop()
        calls = asyncio.ensure_future(loop.sock_sendall(flood, request("Echo") * 20_000))
        began, longest, before = time.monotonic(), 0.0, time.monotonic()
        while time.monotonic() - began < 1:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        assert longest < 0.2
        answered = (await loop.sock_recv(flood, 1 << 20)).count(b"\n")
        assert answered <= 130
        calls.cancel()
        flood.close()

    serving(talk, admins=Limits(connections=4, calls=100, burst=10))


def test_a_pace_lets_its_rate_pass() -> None:
    async def measure() -> float:
        pace = Pace(rate=100, burst=10)
        began = time.monotonic()
        for _ in range(30):
            await pace.turn()
        return time.monotonic() - began

    assert 0.15 < asyncio.run(measure()) < 1


def test_the_file_goes_with_the_listener(tmp_path: Path) -> None:
    async def once() -> None:
        with open_listener(tmp_path / "s") as listener, Control(listener, METHODS):
            await asyncio.sleep(0)

    asyncio.run(once())
    assert not (tmp_path / "s").exists()


def test_no_listener_no_service() -> None:
    async def once() -> None:
        with Control(None, METHODS):
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(once())


def test_it_ends_with_its_owner(tmp_path: Path) -> None:
    async def once() -> None:
        with open_listener(tmp_path / "s") as listener:
            with Control(listener, METHODS), connect(tmp_path / "s") as caller:
                caller.sendall(request("Later"))
                await asyncio.sleep(0.05)
                assert len(asyncio.all_tasks()) == 3  # this one, who accepts, and who talks with the caller
            await asyncio.sleep(0.05)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(once())


def test_admins_have_more_room() -> None:
    assert ADMINS.calls > OTHERS.calls
