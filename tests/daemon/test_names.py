"""The names of several servers are looked up at once: one that is not answered delays the others by its head start."""

from __future__ import annotations

import asyncio

import pytest

from mqvpn.config.values import HostPort
from mqvpn.daemon import names as module
from mqvpn.daemon.names import Names
from mqvpn.daemon.resolve import Unresolved
from mqvpn.tunnel.reach import LONG
from tests.fakes.timeless import run

A, B = HostPort("a", 443), HostPort("b", 443)
ADDRESSES = {A: [("192.0.2.1", 443)], B: [("192.0.2.2", 443)]}


class Resolver:
    """Answers after so many seconds; None: that there is no such name."""

    def __init__(self, **seconds: float | None) -> None:
        self.seconds = seconds
        self.later = self.asked = 0

    async def find(self, server: HostPort) -> list[tuple[str, int]]:
        self.asked += 1
        seconds = self.seconds[server.host]
        if seconds is None:
            raise Unresolved(f"cannot resolve {server.host}")
        await asyncio.sleep(seconds)
        return ADDRESSES[server]

    def found(self) -> None:
        self.later += 1


@pytest.fixture(autouse=True)
def _head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERVER_HEAD_START", 0.2)


def look_up(resolver: Resolver, wait: float = 0.0) -> tuple[Names, float]:
    """The names after so many seconds more, and what the look-up took."""

    async def body() -> tuple[Names, float]:
        names = Names(resolver.find, resolver.found)
        began = asyncio.get_running_loop().time()
        await names.look_up((A, B))
        took = asyncio.get_running_loop().time() - began
        await asyncio.sleep(wait)
        names.stop()
        return names, took

    return run(body())


def test_the_first_one_is_waited_for_and_the_other_is_told_later() -> None:
    resolver = Resolver(a=0.05, b=0.1)
    names, took = look_up(resolver, wait=0.1)
    assert took == pytest.approx(0.05)
    assert (names.addresses(A), names.addresses(B), resolver.later) == (ADDRESSES[A], ADDRESSES[B], 1)


def test_a_name_that_is_not_answered_costs_the_head_start() -> None:
    names, took = look_up(Resolver(a=5.0, b=0.0))
    assert took == pytest.approx(0.2)
    assert (names.addresses(A), names.addresses(B)) == ([], ADDRESSES[B])


def test_a_name_that_there_is_not_costs_nothing() -> None:
    names, took = look_up(Resolver(a=None, b=0.05))
    assert took == pytest.approx(0.05)
    assert names.unresolved == {A: "cannot resolve a"}


def test_no_name_is_known() -> None:
    with pytest.raises(Unresolved, match="cannot resolve a"):
        look_up(Resolver(a=None, b=None))


def test_what_was_known_before_is_still_good(caplog: pytest.LogCaptureFixture) -> None:
    resolver = Resolver(a=0.0, b=None)

    async def body() -> Names:
        names = Names(resolver.find, resolver.found)
        await names.look_up((A, B))
        resolver.seconds["a"] = None
        await names.look_up((A, B))
        return names

    assert run(body()).addresses(A) == ADDRESSES[A]
    assert "cannot resolve a: using the addresses known before" in caplog.text


def test_what_was_known_before_is_used_when_an_answer_takes_long_and_the_answer_when_it_comes() -> None:
    """Also of a single server."""
    resolver = Resolver(a=0.0)

    async def body() -> float:
        names = Names(resolver.find, resolver.found)
        await names.look_up((A,))
        resolver.seconds["a"] = 0.4
        began = asyncio.get_running_loop().time()
        await names.look_up((A,))
        took = asyncio.get_running_loop().time() - began
        assert names.addresses(A) == ADDRESSES[A]
        assert resolver.later == 0
        await asyncio.sleep(0.4)
        names.stop()
        return took

    assert run(body()) == pytest.approx(0.2)
    assert resolver.later == 1


def test_it_asks_on_while_no_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while an earlier question is open, and more seldom when it has been long."""
    monkeypatch.setattr(module, "INTERVAL", 0.03)
    resolver = Resolver(a=None, b=10.0)
    now = 0.0
    monkeypatch.setattr(module, "clock", lambda: now)

    async def body() -> tuple[int, int]:
        nonlocal now
        names = Names(resolver.find, resolver.found)
        with pytest.raises(Unresolved):
            await names.look_up((A,))
        now, before = 10.0, resolver.asked
        asking = asyncio.create_task(names.keep_asking((A, B)))
        await asyncio.sleep(0.3)
        often, now, before = resolver.asked - before, LONG + 11.0, resolver.asked
        await asyncio.sleep(0.3)
        seldom = resolver.asked - before
        now, resolver.seconds["a"] = 10.0, 0.0
        await asyncio.wait_for(asking, 1)
        assert (names.addresses(A), resolver.later) == (ADDRESSES[A], 1)
        names.stop()
        return often, seldom

    often, seldom = run(body())
    assert often >= 2 * 8
    assert 2 <= seldom <= 2 * 4


def test_another_address_is_news_and_the_old_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a captive portal, say; a name server that gives its addresses in turns does not end every wait."""
    monkeypatch.setattr(module, "SPARING", 0.03)
    turns = [["portal"], ["portal"], ["one", "two"], ["two", "one"], ["one"], ["portal"]]
    last = turns[-1]

    async def find(_: HostPort) -> list[tuple[str, int]]:
        return [(address, 443) for address in (turns.pop(0) if turns else last)]

    async def body() -> int:
        names = Names(find, lambda: None)
        await names.look_up((A,))
        await asyncio.wait_for(names.keep_asking((A,)), 1)
        assert names.addresses(A) == [("one", 443), ("two", 443)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(names.keep_asking((A,)), 0.3)
        return len(turns)

    assert run(body()) == 0
