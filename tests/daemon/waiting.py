"""Waiting for what an event loop brings about by itself, however busy the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Return when the condition holds; an AssertionError after `limit` seconds."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + limit
    while not condition():
        assert loop.time() < give_up, "it did not happen"
        await asyncio.sleep(0.01)
