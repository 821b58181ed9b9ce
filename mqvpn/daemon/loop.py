"""An asyncio loop in which packets are apart from all else, so that moving them need not pass through Python.

Two sets of descriptors are waited for, one within the other:

    outer:  packets' own sets and timers (watch())
            others:  what asyncio knows of: netlink, D-Bus, control sockets, signals, other threads

While packets come, the compiled loop (dataplane.mover) runs inside one callback and waits for them itself, and for
`others` too: it comes back at once when asyncio has something to do, and at `free_until` when asyncio has something
due. So control is never late, and a flow of packets costs no turn of asyncio's loop.
"""

import asyncio
import select
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mqvpn.daemon.timerfd import clock

T = TypeVar("T")
FOREVER = float("inf")


class Selector(selectors.EpollSelector):
    """The set `others`, and the outer set around it."""

    def __init__(self) -> None:
        super().__init__()
        self.free_until = 0.0  # clock() at which asyncio has something to do, as far as the last select() knew
        self._call_soon: Callable[[Callable[[], None]], Any] = lambda callback: None
        self._watched: dict[int, Callable[[], None]] = {}
        self._outer = select.epoll()
        self._outer.register(self.fileno(), select.EPOLLIN)

    def start(self, call_soon: Callable[[Callable[[], None]], Any]) -> None:
        """How callbacks of watch() are handed to the loop."""
        self._call_soon = call_soon

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Have callback called by the loop whenever the descriptor is readable; once if several with it are."""
        self._outer.register(fd, select.EPOLLIN)
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor of watch(), if it is one, before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._outer.unregister(fd)

    def select(self, timeout: float | None = None) -> list[Any]:
        """As asyncio calls it: None waits without end, 0 does not wait."""
        due = FOREVER if timeout is None else clock() + timeout
        ready = [fd for fd, _ in self._outer.poll(None if timeout is None else max(timeout, 0.0))]
        # Once: what the first call hands to asyncio, free_until does not tell the second.
        for callback in dict.fromkeys(self._watched[fd] for fd in ready if fd in self._watched):
            self._call_soon(callback)
        self.free_until = 0.0 if self.fileno() in ready else due
        return super().select(0) if self.fileno() in ready else []

    def close(self) -> None:
        self._outer.close()
        super().close()


class PacketLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with such a selector, which the pump finds here."""

    def __init__(self) -> None:
        self.selector = Selector()
        super().__init__(self.selector)
        self.selector.start(self.call_soon)


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run() in a PacketLoop."""
    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        return runner.run(main)
