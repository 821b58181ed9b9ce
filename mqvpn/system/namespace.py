"""This process's network namespace: whose the kernel's settings are that we change, and a lock that is known in it.

The lock needs no file: it is held on the namespace itself, which every process in it can open.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mqvpn.system.errors import refused

HANDLE = "/proc/self/ns/net"
PATIENCE = 2.0  # seconds


def identity() -> str:
    """Tells it from all others of this machine that there are at the same time."""
    status = os.stat(HANDLE)
    return f"{status.st_dev}:{status.st_ino}"


@contextmanager
def alone() -> Iterator[None]:
    """Be the only one in the block; after two seconds with another, who then must be stuck, go on nevertheless.

    Raises OperationFailed."""
    try:
        handle = os.open(HANDLE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise refused("take turns with other instances", error.errno or 0) from error
    try:
        lock(handle, PATIENCE)
        yield
    finally:
        os.close(handle)


def lock(handle: int, patience: float) -> bool:
    """Take the lock of this descriptor's file within so many seconds; closing the descriptor gives it up."""
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.01)
