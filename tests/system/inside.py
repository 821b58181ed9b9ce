"""Runs a test's function inside a network namespace: in a forked child, so ours never moves."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.lab.net import Namespace

CLONE_NEWNET = 0x40000000


def inside(namespace: Namespace, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns there; AssertionError with its traceback when it raises."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_child, args=(namespace.name, function, arguments, theirs))
    child.start()
    theirs.close()
    try:
        failed, value = ours.recv()
    finally:
        child.join()
    assert not failed, value
    return value


def enter(name: str) -> None:
    """Move this thread, and those it starts, into the namespace `name`."""
    handle = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(handle)


def _child(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection) -> None:
    try:
        enter(name)
        pipe.send((False, function(*arguments)))
    except BaseException:
        pipe.send((True, traceback.format_exc()))
