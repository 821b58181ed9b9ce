"""An asyncio loop whose clock goes on only when all wait for it, and then at once.

So nobody waits, and no load of the machine changes what a test sees.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

Result = TypeVar("Result")


class Selector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    """Instead of waiting `timeout` seconds it puts the loop's clock forward."""

    loop: Loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)  # type: ignore[no-any-return]
        ready = super().select(None if self.loop.working else 0)
        if not ready:
            self.loop.now += timeout
        return ready  # type: ignore[no-any-return]


class Loop(asyncio.SelectorEventLoop):
    """For code that waits for its own timers and threads only; a thread takes no time."""

    def __init__(self) -> None:
        selector = Selector()
        selector.loop = self
        self.now = 0.0
        self.working = 0  # threads
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self.working += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        self.working -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        self.working += 1
        await super().shutdown_default_executor(*args)


def run(body: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run()."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(body)
