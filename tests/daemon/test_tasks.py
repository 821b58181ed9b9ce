"""Tasks beside the daemon's story: what goes wrong in one is heard, and they end with their owner."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mqvpn.daemon.dns import Dns
from mqvpn.daemon.tasks import Tasks, begin
from mqvpn.system.undo import Undo
from tests.daemon.test_dns import settings


async def broken() -> None:
    raise ZeroDivisionError("a bug")


async def endless() -> None:
    await asyncio.Event().wait()


def test_a_bug_is_told_while_the_daemon_still_has_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        task = begin(broken(), "status line")
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert "status line: internal error, it is given up: ZeroDivisionError('a bug')" in caplog.text

    asyncio.run(story())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_task_is_forgotten_when_it_is_done_and_cancelled_with_its_owner(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        tasks = Tasks("control socket")
        tasks.start(asyncio.sleep(0))
        tasks.start(endless())
        assert len(tasks) == 2
        for left in (1, 0):
            await asyncio.sleep(0.01)
            assert len(tasks) == left
            tasks.cancel()

    asyncio.run(story())
    assert caplog.text == ""


def test_dns_that_broke_while_it_was_set_is_left_in_good_order(caplog: pytest.LogCaptureFixture) -> None:
    """Its error must not end the daemon's undoing a second time."""

    class Broken:
        problem = ""
        stopped = False

        async def start(self) -> None:
            raise ZeroDivisionError("a bug")

        def refresh(self) -> None: ...
        async def take_back(self) -> None: ...

        async def stop(self, *, leave: bool) -> None:
            self.stopped = not leave

    async def story() -> None:
        dns, keeper = Dns(settings(), "lo", lambda status: None, Undo(None)), Broken()
        dns._keeper = keeper
        dns.tunnel_up(lambda: None)
        await asyncio.sleep(0.01)
        await dns.__aexit__()
        assert keeper.stopped

    asyncio.run(story())
    assert "setting the DNS: internal error" in caplog.text
