"""Blocking work beside the loop, in a thread that nobody waits for when the daemon ends.

asyncio's own executor is waited for when the loop closes: as long as a resolver that does not answer takes to give up.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """What `work` returns or raises; `name`: of its thread."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(found: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)  # type: ignore[arg-type]

    def run() -> None:
        found, failure = None, None
        try:
            found = work()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: it came too late
            loop.call_soon_threadsafe(tell, found, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer
