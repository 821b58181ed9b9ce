"""Runs a function with a mount namespace of its own, in a forked child: what it mounts nobody else sees."""

from __future__ import annotations

import ctypes
import multiprocessing
import subprocess
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x20000


def private_mounts(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns there; AssertionError with its traceback when it raises."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_child, args=(function, arguments, theirs))
    child.start()
    theirs.close()
    try:
        failed, value = ours.recv()
    finally:
        child.join()
    assert not failed, value
    return value


def unshare() -> None:
    """Give this process (of one thread) its own mounts."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")


def mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True)


def own(room: Path, *directories: str) -> None:
    """Overlays: what changes in these directories changes for this mount namespace alone. `room` is a directory."""
    for number, directory in enumerate(directories):
        base = room / f"overlay{number}"
        base.mkdir()
        mount("-t", "tmpfs", "tmpfs", str(base))
        for name in ("upper", "work"):
            (base / name).mkdir()
        options = f"lowerdir={directory},upperdir={base}/upper,workdir={base}/work"
        mount("-t", "overlay", "overlay", "-o", options, directory)


def _child(function: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection) -> None:
    try:
        unshare()
        pipe.send((False, function(*arguments)))
    except BaseException:
        pipe.send((True, traceback.format_exc()))
