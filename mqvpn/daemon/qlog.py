"""Writes a tunnel's qlog records: a file for each connection, as a JSON text sequence (RFC 7464, `.sqlog`).

A full file is followed by another one, and the oldest files of ours in the directory are removed, so that together
they stay below a limit. What cannot be written is said once, and the tunnel goes on without.
"""

import asyncio
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Self
from weakref import WeakKeyDictionary

from mqvpn.daemon.tasks import begin
from mqvpn.daemon.timerfd import clock
from mqvpn.system.errors import OperationFailed
from mqvpn.tunnel.qlog import Record, Recorder, Trace, encode, header

log = logging.getLogger(__name__)

INTERVAL = 0.1  # seconds between two samples of each path
MAX_FILE = 16 << 20  # bytes
MAX_TOTAL = 256 << 20  # bytes, of all files
BLOCK = 4096  # bytes that the smallest file takes
OURS = "mqvpn-*.sqlog"


@dataclass(slots=True)
class Part:
    """The file that a trace is being written to, the `number`th."""

    number: int
    name: str


class Files:
    """The files in a directory. `wall`: the wall clock, seconds since 1970, when the tunnel's clock was 0."""

    def __init__(self, directory: str, wall: float, *, max_file: int = MAX_FILE, max_total: int = MAX_TOTAL) -> None:
        """Raises OperationFailed if no file can be made there."""
        self._directory = Path(directory)
        self._wall = wall
        self._max_file, self._max_total = max_file, max_total
        self._parts: WeakKeyDictionary[Trace, Part] = WeakKeyDictionary()
        try:
            self._sizes = _sizes(directory)  # bytes by name, the oldest first
        except OSError as error:
            raise _unusable(directory, error.strerror) from None
        self._total = sum(map(_on_disk, self._sizes.values()))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _unusable(directory, "cannot be written to")

    def append(self, trace: Trace, records: list[Record]) -> None:
        """Write the next records of a connection. Raises OSError."""
        data = b"".join(encode(trace, record) for record in records)
        part = self._parts.get(trace)
        size = self._sizes.get(part.name, 0) if part is not None else 0
        if part is None or not size or size + len(data) > self._max_file:
            part = self._parts[trace] = self._next_part(trace, part)
            data = header(trace, self._wall) + data
        size = self._sizes.get(part.name, 0)
        growth = _on_disk(size + len(data)) - (_on_disk(size) if size else 0)
        self._make_room(growth, part.name)
        _append(self._directory / part.name, size, data)
        self._sizes[part.name] = size + len(data)
        self._total += growth

    def _next_part(self, trace: Trace, part: Part | None) -> Part:
        number = 1 if part is None else part.number + 1
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall + (trace.start or 0.0)))
        role = "client" if trace.is_client else "server"
        return Part(number, f"mqvpn-{began}-{trace.odcid}-{role}-{number}.sqlog")

    def _make_room(self, growth: int, keep: str) -> None:
        while self._total + growth > self._max_total:
            oldest = next((name for name in self._sizes if name != keep), None)
            if oldest is None:
                return
            (self._directory / oldest).unlink(missing_ok=True)
            self._total -= _on_disk(self._sizes.pop(oldest))


class Qlog:
    """Samples and writes while it is entered. `recorder` belongs into the tunnel; None: no directory was named."""

    def __init__(self, directory: str) -> None:
        """Raises OperationFailed if the directory cannot be used."""
        self.recorder: Recorder | None = None
        self._files: Files | None = None
        self._task: asyncio.Task[None] | None = None
        if directory:
            self.recorder = Recorder()
            self._files = Files(directory, time.time() - clock())

    def __enter__(self) -> Self:
        if self._files is not None:
            self._task = begin(self._run(), "qlog")
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            self.write(clock())

    def write(self, now: float) -> None:
        """Sample, and write what is new."""
        if self._files is None or self.recorder is None:
            return
        self.recorder.sample(now)
        try:
            for trace, records in self.recorder.take():
                self._files.append(trace, records)
        except OSError as error:
            log.warning("no qlog any more: %s: %s", error.filename, error.strerror)
            self._files = None
            self.recorder.close()

    async def _run(self) -> None:
        while self._files is not None:
            await asyncio.sleep(INTERVAL)
            self.write(clock())


def _sizes(directory: str) -> dict[str, int]:
    with os.scandir(directory) as entries:
        ours = [entry for entry in entries if fnmatch(entry.name, OURS) and entry.is_file(follow_symlinks=False)]
    return {entry.name: entry.stat().st_size for entry in sorted(ours, key=lambda entry: entry.stat().st_mtime)}


def _on_disk(size: int) -> int:
    return max(BLOCK, size)


def _append(path: Path, size: int, data: bytes) -> None:
    """Append to a file of `size` bytes, all or nothing; 0: it must not be there yet."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags if size else flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(file)


def _unusable(directory: str, reason: str | None) -> OperationFailed:
    hint = "make a directory that mqvpn can write to, or take QlogDir (--qlog) out"
    return OperationFailed(f"qlog in {directory}", reason or "cannot be used", hint)
