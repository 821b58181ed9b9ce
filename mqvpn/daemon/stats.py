"""Tells how it goes: systemd's STATUS, and a JSON file for those who watch (MQVPN_STATS=/path).

The file is replaced whole every half second, so a reader never sees half of one. Its owner alone may read it, for the
server's holds who the users are.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mqvpn.system.notify import Notifier

log = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds between two files
STATUS_INTERVAL = 1.0  # seconds between two status lines, which systemd is told of when they differ
VARIABLE = "MQVPN_STATS"

Figures = Callable[[], dict[str, Any]]


async def report(notifier: Notifier, figures: Figures, describe: Callable[[], str]) -> None:
    """Run until cancelled. `figures` fills the file, `describe` the status line."""
    path = os.environ.get(VARIABLE)
    loop = asyncio.get_running_loop()
    told, next_status, failed = "", 0.0, False
    while True:
        if path:
            failed = await asyncio.to_thread(write, path, figures(), failed)  # packets do not wait for a disk
        if loop.time() >= next_status and (status := describe()) != told:
            notifier.status(status)
            told, next_status = status, loop.time() + STATUS_INTERVAL
        await asyncio.sleep(INTERVAL if path else STATUS_INTERVAL)


def write(path: str, figures: dict[str, Any], failed: bool = False) -> bool:
    """Replace the file; whether that failed, which is said if it did not fail before."""
    fresh = Path(f"{path}.new")
    try:
        fresh.unlink(missing_ok=True)  # a dead predecessor's, or a stranger's link
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(json.dumps(figures) + "\n")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        if not failed:
            log.warning("no statistics in %s: %s", path, error.strerror)
        return True
    return False
