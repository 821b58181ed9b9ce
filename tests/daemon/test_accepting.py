"""Connections are accepted as soon as that can be: without descriptors after a pause; one that is gone costs none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time

import pytest

from mqvpn.daemon import accepting
from mqvpn.daemon.accepting import Acceptor

PAUSE = 0.5  # seconds


def accept_behind(*codes: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds until a connection is accepted before which accept(2) fails with these errnos."""
    failures = [OSError(code, os.strerror(code)) for code in codes]

    async def body() -> float:
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept

        async def failing(listening: socket.socket) -> tuple[socket.socket, object]:
            if failures:
                raise failures.pop(0)
            return await accept(listening)

        monkeypatch.setattr(loop, "sock_accept", failing)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            with socket.create_connection(listening.getsockname()):
                began = time.monotonic()
                (await Acceptor(listening, "door").next()).close()
                return time.monotonic() - began

    return asyncio.run(body())


@pytest.fixture(autouse=True)
def _pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE", PAUSE)


def test_a_connection_that_is_gone_delays_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert accept_behind(errno.ECONNABORTED, errno.EPROTO, monkeypatch=monkeypatch) < PAUSE
    assert caplog.text == ""


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_connections_wait_and_one_line_says_so(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert accept_behind(code, code, monkeypatch=monkeypatch) >= 2 * PAUSE
    assert caplog.messages == [f"door: {os.strerror(code)}: connections have to wait"]
