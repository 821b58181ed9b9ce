"""Tasks beside the daemon's story: none ends unheard, and those that belong together end with their owner."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


def begin(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """Start it in the running loop. A bug in it costs no packets; the log says then that `what` is not done any more,
    which asyncio would only when nobody has the task any longer."""
    task = asyncio.get_running_loop().create_task(work, name=what)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s: internal error, it is given up: %r", task.get_name(), error)
        log.debug("where it happened", exc_info=error)


class Tasks:
    """Started in the running loop. `len()`: how many are not done."""

    def __init__(self, what: str) -> None:
        """what: for the log."""
        self._what = what
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Forgotten when it is done."""
        task = begin(work, self._what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End them; they notice with the loop's next turn."""
        for task in self._tasks:
            task.cancel()
