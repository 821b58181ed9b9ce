"""Other clocks for the programs of a test, while those of the machine stay: the wall clock by wallclock.c, which can be
stepped while they run, and the monotonic ones by a time namespace (time_namespaces(7)), before they start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.lab.links import compiled

CLONE_NEWTIME = 0x80


class WallClock:
    """The wall clock of programs that were started within programs()."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "wallclock"
        self.step(0)

    def step(self, seconds: int) -> None:
        """It is so far from the machine's from now on."""
        if not self._file.exists():
            self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    @contextlib.contextmanager
    def programs(self) -> Iterator[None]:
        """Programs started in the block have this clock."""
        os.environ["MQVPN_TEST_WALLCLOCK"] = str(self._file)
        os.environ["LD_PRELOAD"] = str(compiled("lab/wallclock", "-shared", "-fPIC", "-ldl"))
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["MQVPN_TEST_WALLCLOCK"]


def shift_monotonic(seconds: int) -> None:
    """Programs that this process starts from now on have monotonic and boot time clocks that are so far ahead."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWTIME):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} 0\nboottime {seconds} 0\n")
