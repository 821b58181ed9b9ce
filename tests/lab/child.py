"""Runs a function in a forked child, which may first leave what this process shares with it."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def in_child(prepare: Callable[[], None], function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns there, behind `prepare()`; AssertionError with its traceback when one of
    them raises."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_child, args=(prepare, function, arguments, theirs))
    child.start()
    theirs.close()
    try:
        failed, value = ours.recv()
    finally:
        child.join()
    assert not failed, value
    return value


def _child(
    prepare: Callable[[], None], function: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection
) -> None:
    try:
        prepare()
        pipe.send((False, function(*arguments)))
    except BaseException:
        pipe.send((True, traceback.format_exc()))
