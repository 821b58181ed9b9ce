"""Runs a function with a mount namespace of its own, in a forked child: what it mounts nobody else sees."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.child import in_child

CLONE_NEWNS = 0x20000


def private_mounts(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns there; AssertionError with its traceback when it raises."""
    return in_child(unshare, function, *arguments)


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
