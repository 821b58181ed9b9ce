"""Runs a test's function inside a network namespace: in a forked child, so ours never moves."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from tests.lab.child import in_child
from tests.lab.net import Namespace

CLONE_NEWNET = 0x40000000


def inside(namespace: Namespace, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns there; AssertionError with its traceback when it raises."""
    return in_child(lambda: enter(namespace.name), function, *arguments)


def enter(name: str) -> None:
    """Move this thread, and those it starts, into the namespace `name`."""
    handle = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(handle)
