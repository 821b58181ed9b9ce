"""A file in the state directory: a JSON value that is replaced as a whole and may be lost without harm.

What cannot be read is said and taken for nothing; what cannot be written is said once, and the daemon goes on and tries
it again. It is written by a thread, for a disk may be slow and packets must not wait; at once, and then every INTERVAL
at most.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mqvpn.system.errors import is_exhaustion, refused

log = logging.getLogger(__name__)

INTERVAL = 2.0  # seconds between two writes
MAX_SIZE = 2 << 20  # bytes that are read; a larger file is none of ours


class StateFile:
    """`name` in `directory` (None: nothing is kept); `snapshot` returns the value to be written."""

    def __init__(self, directory: str | None, name: str, snapshot: Callable[[], Any]) -> None:
        self.path = None if not directory else Path(directory) / name
        self._snapshot = snapshot
        self._dirty = self._failed = False
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def load(self) -> Any:
        """The value in the file; None if there is no file or no JSON in it. Raises OperationFailed without a descriptor
        to read it: what it holds would be lost with the next write."""
        if self.path is None:
            return None
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_SIZE + 1)
            if len(content) > MAX_SIZE:
                raise ValueError(f"more than {MAX_SIZE} bytes")
            return json.loads(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and is_exhaustion(error):
                raise refused(f"read {self.path}", error.errno or 0) from error
            self.distrust(error)
            return None

    def distrust(self, error: Exception) -> None:
        """Say that the file's content is of no use."""
        reason = error.strerror if isinstance(error, OSError) else error
        log.warning("%s: %s: starting without it", self.path, reason)

    def changed(self) -> None:
        """Write the file soon."""
        if self.path is None:
            return
        self._dirty = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(self.path))

    async def close(self) -> None:
        """Write what is not written yet."""
        self._closing.set()
        if self._task is not None:
            await self._task

    async def _run(self, path: Path) -> None:
        while self._dirty:
            self._dirty = False
            content = json.dumps(self._snapshot()).encode()
            try:
                await asyncio.to_thread(replace, path, content)
                self._failed = False
            except OSError as error:
                if not self._failed:
                    log.warning("%s: %s: what it should hold is lost when the daemon ends", path, error.strerror)
                self._failed = True
                self._dirty = not self._closing.is_set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), INTERVAL)


def replace(path: Path, content: bytes) -> None:
    """Write a file for its owner alone; at any time the old or the new one is there, whole. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
    finally:
        os.close(file)
