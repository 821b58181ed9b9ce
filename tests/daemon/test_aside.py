"""Work beside the loop: its result or its error, and nobody waits for it at the end."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mqvpn.daemon.aside import aside


def test_its_result_and_its_error() -> None:
    async def both() -> str:
        with pytest.raises(ZeroDivisionError):
            await aside(lambda: 1 // 0, "fails")
        return await aside(lambda: threading.current_thread().name, "named")

    assert asyncio.run(both()) == "named"


def test_the_loop_goes_on_meanwhile_and_ends_without_it() -> None:
    release = threading.Event()

    async def leave() -> None:
        slow = aside(lambda: release.wait(10), "slow")
        await asyncio.sleep(0.01)
        assert not slow.done()

    began = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - began < 5
    release.set()
