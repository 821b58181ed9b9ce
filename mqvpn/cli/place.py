"""New files below /etc/mqvpn: whole or not at all, never over another one, readable for the daemon only."""

import grp
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

GROUP = "mqvpn"  # of the daemon, made by the packages (sysusers.d)


class Failed(Exception):
    """What is in the way, and what to do about it."""


def create(path: Path, content: bytes) -> None:
    """Make a file that root may write and the daemon's group may read. Raises Failed, OSError.

    It appears with all of its content; one with this name is never touched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            _give_to_group(file.fileno())
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        raise Failed(f"{path} exists and is left as it is; to make a new one, move it away") from None
    finally:
        draft.unlink()


def _give_to_group(descriptor: int) -> None:
    """0640 root:mqvpn; where there is no such group, or we may not, only the owner reads it."""
    with suppress(KeyError, PermissionError):
        os.fchown(descriptor, -1, grp.getgrnam(GROUP).gr_gid)
        os.fchmod(descriptor, 0o640)


def readable_for_daemon(path: Path) -> bool:
    """Whether the daemon's group may read a file, as far as its own mode tells; True if there is no such group."""
    try:
        group, status = grp.getgrnam(GROUP).gr_gid, path.stat()
    except (KeyError, OSError):
        return True
    return bool(status.st_mode & (stat.S_IROTH | (stat.S_IRGRP if status.st_gid == group else 0)))


def say(text: str) -> None:
    """Tell the person at the terminal; stdout is for what can be used further."""
    print(text, file=sys.stderr)
