"""Files that are replaced whole, so that a reader or a power failure meets the old or the new one, never a part.

The new file is written and synced beside the old one, under a name that is always the same: whoever comes after
a death in between finds it there, and removes it.
"""

import os
from pathlib import Path


def temporary(path: Path) -> Path:
    """Where the new file is made."""
    return path.with_name(f".{path.name}.mqvpn")


def replace(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    mtime_ns: int | None = None,
) -> None:
    """Put a regular file in the place of `path`, whatever that is; a link's target is not touched. Raises OSError."""
    fresh = temporary(path)
    clean(path)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            os.fsync(descriptor)
        os.rename(fresh, path)
    except OSError:
        clean(path)
        raise
    sync_directory(path.parent)


def prove(path: Path, size: int) -> None:
    """Find out whether `path` could be replaced by so many bytes; nothing is left of it. Raises OSError."""
    clean(path)
    descriptor = os.open(temporary(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(bytes(size))
    finally:
        clean(path)


def replace_by_link(path: Path, target: str) -> None:
    """Put a symbolic link in the place of `path`. Raises OSError."""
    clean(path)
    os.symlink(target, temporary(path))
    try:
        os.rename(temporary(path), path)
    except OSError:
        clean(path)
        raise
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove it, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def clean(path: Path) -> None:
    """Remove what a death in the middle of replace() left."""
    if os.path.lexists(temporary(path)):  # a read-only file system refuses to remove what is not there, too
        temporary(path).unlink()


def sync_directory(path: Path) -> None:
    """Make the directory's names durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
