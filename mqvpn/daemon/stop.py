"""SIGTERM and SIGINT: the first asks the daemon to stop in good order, the second ends it on the spot.

SIGUSR1 asks to stop, too, but a successor is about to start (RestartKillSignal= of the units): what was changed on
the machine is left for it. SIGHUP asks to reload."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop:
    """Set by a signal or by whoever finds that the daemon cannot go on; `status` is the exit status then.

    `succeeded` says that another process takes over.
    """

    def __init__(self) -> None:
        self.status = 0
        self.succeeded = False
        self._wish = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._signal, number)

    def __call__(self, status: int) -> None:
        """Stop with this exit status; the first call counts."""
        if not self._wish.is_set():
            self.status = status
            self._wish.set()

    @property
    def wished(self) -> bool:
        return self._wish.is_set()

    @property
    def by_user(self) -> bool:
        """Whether somebody wants this client to be stopped: it has not failed, and no other takes over."""
        return self.wished and self.status == 0 and not self.succeeded

    def unless_succeeded(self, undo: Callable[[], None]) -> None:
        """Undo something, unless a successor needs it."""
        if not self.succeeded:
            undo()

    async def wait(self) -> None:
        await self._wish.wait()

    async def interrupts(self, work: Awaitable[T]) -> T | None:
        """Await `work`, but only until it is time to stop; None then."""
        task = asyncio.ensure_future(work)
        wish = asyncio.create_task(self.wait())
        await asyncio.wait((task, wish), return_when=asyncio.FIRST_COMPLETED)
        wish.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    def _signal(self, number: int) -> None:
        if self.wished:
            log.warning("%s again: ending at once, nothing is put back", signal.Signals(number).name)
            os._exit(128 + number)
        self.succeeded = number == signal.SIGUSR1
        log.info("%s: %s", signal.Signals(number).name, "restarting" if self.succeeded else "stopping")
        self(0)
