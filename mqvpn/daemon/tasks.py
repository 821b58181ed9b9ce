"""Tasks that belong together: each is forgotten when it is done, and all end with their owner."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Started in the running loop. `len()`: how many are not done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """End them; they notice with the loop's next turn."""
        for task in self._tasks:
            task.cancel()
