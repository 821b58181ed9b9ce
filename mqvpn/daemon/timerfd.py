"""One timer as a descriptor (timerfd_create(2)), on CLOCK_BOOTTIME, which goes on while the machine sleeps.

asyncio's own timers are too coarse for pacing (epoll counts in milliseconds) and stop during suspend. Python
has timerfd since 3.13; before that the C library is called directly.
"""

import asyncio
import ctypes
import os
import time

TFD_CLOEXEC, TFD_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
TFD_TIMER_ABSTIME = 1
NANOSECONDS = 1_000_000_000


class _Spec(ctypes.Structure):
    _fields_ = [
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    ]


_libc = ctypes.CDLL(None, use_errno=True)


def clock() -> float:
    """Seconds of CLOCK_BOOTTIME: the `now` of every tunnel and engine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def sleep(seconds: float) -> None:
    """Like asyncio.sleep(), but the time that the machine sleeps counts."""
    at = clock() + seconds
    try:
        timer, loop = Timer(), asyncio.get_running_loop()
    except OSError:  # no descriptor is left
        while (rest := at - clock()) > 0:
            await asyncio.sleep(min(rest, 1.0))
        return
    over = asyncio.Event()
    loop.add_reader(timer.fileno(), over.set)
    timer.arm(at)
    try:
        await over.wait()
    finally:
        loop.remove_reader(timer.fileno())
        timer.close()


async def pause(delay: float, wake: asyncio.Event, *, least: float) -> None:
    """So many seconds, or until `wake` is set, which takes `least` seconds anyway."""
    await sleep(min(delay, least))
    waiting = [asyncio.ensure_future(some) for some in (wake.wait(), sleep(max(0.0, delay - least)))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


class Timer:
    """A timer that makes `fileno()` readable when clock() reaches the time it is armed for."""

    def __init__(self) -> None:
        self._fd = int(_libc.timerfd_create(time.CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Spec()
        self._at: float | None = None

    def fileno(self) -> int:
        return self._fd

    def arm(self, at: float | None) -> None:
        """Fire at `at`, or not at all; a time in the past fires at once. An earlier time it is set to already
        stays: firing too early costs less than setting the timer again for every packet."""
        if at is None or (self._at is not None and self._at <= at):
            return
        self._set(at)

    def late(self, now: float) -> float:
        """Seconds since it should have fired; 0 if its time has not come."""
        return 0.0 if self._at is None else max(0.0, now - self._at)

    def due(self, now: float) -> bool:
        """Whether the time it was armed for has come; it is disarmed then, and no longer readable."""
        if self._at is None or self._at > now:
            return False
        self._set(None)
        return True

    def _set(self, at: float | None) -> None:
        self._at = at
        whole = 0 if at is None else max(1, int(at * NANOSECONDS))
        self._spec.seconds, self._spec.nanoseconds = divmod(whole, NANOSECONDS)
        if _libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        os.close(self._fd)
