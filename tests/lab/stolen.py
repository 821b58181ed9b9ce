"""How much of the processors the hypervisor kept from this machine: what is measured meanwhile tells of it, not of us.

On a shared host a virtual machine may lose 40 % of its processors for ten or twenty seconds. Nothing on it can know
beforehand; the kernel counts it afterwards (`steal`, proc_stat(5)). A machine that is stopped as a whole counts
nothing: then a thread that only sleeps wakes late, which our own load does not do to it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.5  # seconds
STEAL = 7  # its place among the numbers of a line of /proc/stat
COUNTED = 8  # the two after it (guest time) are part of the others
MUCH = 0.1  # share of an interval that makes a measurement worthless
NAP = 0.02  # seconds
LATE = 0.1  # seconds after its time that a sleeper is woken: the machine stood still


def ticks() -> tuple[int, int]:
    """Stolen and all time of all processors since boot."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]][:COUNTED]
    return numbers[STEAL], sum(numbers)


class Stolen:
    """Watches in a thread, from start() on; the figures are of the time since restart(). `read` is called every
    `interval` seconds for the kernel's counters."""

    def __init__(self, read: Callable[[], tuple[int, int]] = ticks, interval: float = INTERVAL) -> None:
        self._read, self._interval = read, interval
        self._ended = threading.Event()
        self._last = self._first = self._read()
        self._worst = self._latest = 0.0
        self._thread = threading.Thread(target=self._watch, name="stolen", daemon=True)

    def start(self) -> Stolen:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def restart(self) -> None:
        """Forget what was."""
        self._last = self._first = self._read()
        self._worst = self._latest = 0.0

    @property
    def worst(self) -> float:
        """The largest share that was stolen in half a second."""
        return self._worst

    @property
    def share(self) -> float:
        """The share of the whole time."""
        return _share(self._first, self._read())

    @property
    def latest(self) -> float:
        """Seconds: how late a sleeper was woken at worst."""
        return self._latest

    @property
    def much(self) -> bool:
        return self._worst > MUCH or self._latest > LATE

    def __str__(self) -> str:
        return (
            f"the hypervisor kept {self.share:.0%} of the processors, {self.worst:.0%} in the worst half second; "
            f"a sleeper woke {self.latest * 1000:.0f} ms late at worst"
        )

    def _watch(self) -> None:
        counted = time.monotonic()
        begun = counted
        while not self._ended.wait(NAP):
            woken = time.monotonic()
            self._latest = max(self._latest, woken - begun - NAP)
            if woken - counted >= self._interval:
                counted = woken
                with contextlib.suppress(OSError):  # a test left this process no descriptor
                    self._count()
            begun = time.monotonic()

    def _count(self) -> None:
        now = self._read()
        self._worst = max(self._worst, _share(self._last, now))
        self._last = now


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    passed = after[1] - before[1]
    return (after[0] - before[0]) / passed if passed > 0 else 0.0
