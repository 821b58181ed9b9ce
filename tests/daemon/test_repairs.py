"""How often repairs are made, and what is said of them."""

from __future__ import annotations

import asyncio

import pytest

from mqvpn.daemon import repairs
from mqvpn.daemon.repairs import OFTEN, Repairs
from mqvpn.system.errors import OperationFailed
from tests.fakes.timeless import run


def test_at_once_and_then_with_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(repairs, "PAUSE", 0.02)
    done: list[int] = []

    async def body() -> None:
        repair = Repairs("it", lambda: done.append(1) is None)
        for _ in range(OFTEN + 5):
            repair.look()
        assert len(done) == OFTEN
        await asyncio.sleep(0.1)
        assert len(done) == OFTEN + 1
        repair.look()
        repair.close()
        await asyncio.sleep(0.1)
        assert len(done) == OFTEN + 1

    run(body())
    assert caplog.text.count("it: somebody deleted it; it is back") == OFTEN
    assert caplog.text.count("somebody keeps deleting it") == 1


def test_what_was_whole_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    async def body() -> None:
        repair = Repairs("it", lambda: looks.append(1) is not None)
        for _ in range(3 * OFTEN):
            repair.look()

    run(body())
    assert len(looks) == 3 * OFTEN
    assert caplog.text == ""


def test_what_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(repairs, "PAUSE", 0.02)
    tries: list[int] = []

    def fail_first() -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise OperationFailed("add a route", "Network is down", "set it up")
        return True

    async def body() -> None:
        Repairs("it", fail_first).look()
        await asyncio.sleep(0.1)

    run(body())
    assert len(tries) == 2
    assert "it: add a route" in caplog.text
