"""The loop that keeps packets apart: what it calls, and what it says of asyncio's own plans."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from mqvpn.daemon import loop
from mqvpn.daemon.loop import FOREVER, PacketLoop
from mqvpn.daemon.timerfd import clock


class Pipe:
    def __init__(self) -> None:
        self.out, self.into = os.pipe()

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


def running() -> PacketLoop:
    found = asyncio.get_running_loop()
    assert isinstance(found, PacketLoop)
    return found


def test_a_watched_descriptor_has_its_callback_called_until_it_is_unwatched(pipe: Pipe) -> None:
    async def run() -> None:
        calls: list[bytes] = []
        running().selector.watch(pipe.out, lambda: calls.append(os.read(pipe.out, 1)))
        for byte in b"ab":
            os.write(pipe.into, bytes([byte]))
            await asyncio.sleep(0.01)
        running().selector.unwatch(pipe.out)
        os.write(pipe.into, b"c")
        await asyncio.sleep(0.01)
        assert calls == [b"a", b"b"]

    loop.run(run())


def test_a_callback_of_two_descriptors_is_called_once_before_what_it_hands_to_the_loop(pipe: Pipe) -> None:
    """As that of the packets and of their timer: a second call would keep asyncio waiting as long as packets come."""

    async def run() -> None:
        order: list[str] = []
        second = Pipe()

        def call() -> None:
            order.append("call")
            running().call_soon(order.append, "handed over")

        for one in (pipe, second):
            running().selector.watch(one.out, call)
            os.write(one.into, b"x")
        while "handed over" not in order:
            await asyncio.sleep(0)
        second.close()
        assert order[:2] == ["call", "handed over"]

    loop.run(run())


def free_when_called(pipe: Pipe, others: int | None = None, timer: float | None = None) -> float:
    """What free_until is, in seconds from then, when a watched descriptor becomes readable."""

    async def run() -> float:
        called: asyncio.Future[float] = running().create_future()

        def call() -> None:
            os.read(pipe.out, 1)
            called.set_result(running().selector.free_until - clock())

        running().selector.watch(pipe.out, call)
        if others is not None:
            running().add_reader(others, lambda: None)
        if timer is not None:
            running().call_later(timer, lambda: None)
        os.write(pipe.into, b"x")
        return await called

    return loop.run(run())


def test_asyncio_without_plans_is_free_for_ever(pipe: Pipe) -> None:
    assert free_when_called(pipe) == FOREVER


def test_asyncio_is_free_until_its_next_timer(pipe: Pipe) -> None:
    assert 4 < free_when_called(pipe, timer=5.0) <= 5.0


def test_asyncio_is_not_free_when_a_descriptor_of_its_own_is_readable(pipe: Pipe) -> None:
    readable = Pipe()
    os.write(readable.into, b"x")
    assert free_when_called(pipe, others=readable.out) < 0
    readable.close()
