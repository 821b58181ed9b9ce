"""Runs a function in a forked child that is killed (SIGKILL) before a chosen one of the lines that change a file."""

from __future__ import annotations

import linecache
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

CALLS = re.compile(r"\b(os|file|durable)\.(?!path|strerror|fs)|\.unlink|open\(|self\._(save|write)|_in_place\(")


def killed_at(step: int, function: Callable[[], Any], *modules: str) -> bool:
    """Kill it before the `step`-th line of `modules` (file names) that calls os or a file; False if it ended first."""
    child = os.fork()
    if child == 0:
        try:
            sys.settrace(_tracer(step, modules))
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child failed: {status}"
    return status == signal.SIGKILL


def _tracer(step: int, modules: tuple[str, ...]) -> Callable[[FrameType, str, Any], Any]:
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if os.path.basename(frame.f_code.co_filename) not in modules:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and CALLS.search(line):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
