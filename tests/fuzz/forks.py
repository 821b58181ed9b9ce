"""Rows of inputs for one connection that is made once: every row gets a copy of it, by fork().

Most inputs end the connection they meet, and a handshake costs ten times what an input does. A child takes inputs
until its copy is used up and returns their number as its exit status.
"""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Callable, Iterator

from tests.fuzz.targets import Watch

ROW = 20  # inputs for one copy at most
BROKEN = 255  # exit status of a child that found something, and said so


def run(
    watch: Watch, inputs: Iterator[bytes], one: Callable[[bytes], None], *, runs: int, over: Callable[[], bool]
) -> int:
    """Give inputs to copies of the watched connection until `runs` of them were taken or over() says so.

    Returns how many were taken. `one` runs an input in the child; whatever it raises, it has reported.
    Raises AssertionError when a child found something or died.
    """
    watch.prepare()
    gc.freeze()  # a collection would copy all that the children share
    row: deque[bytes] = deque()
    taken = 0
    while taken < runs and not over():
        while len(row) < min(ROW, runs - taken):
            row.append(next(inputs))
        for _ in range(count := _in_a_copy(watch, list(row), one)):
            row.popleft()
        taken += count
    return taken


def _in_a_copy(watch: Watch, row: list[bytes], one: Callable[[bytes], None]) -> int:
    """How many inputs of the row were taken before the copy was used up: at least one."""
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            status = _take(watch, row, one)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 0 < status < BROKEN, f"a child ended with {status} over one of {row!r}"
    return status


def _take(watch: Watch, row: list[bytes], one: Callable[[bytes], None]) -> int:
    for count, data in enumerate(row, 1):
        one(data)
        if watch.used_up():
            return count
    return len(row)
