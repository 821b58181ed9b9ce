"""A Unix stream socket with a name in the file system (unix(7)), and who is at the other end of a connection.

Everybody may connect: what a peer may ask for follows from its user and groups, which the kernel vouches for
(SO_PEERCRED, SO_PEERGROUPS). The file that a dead daemon left is replaced; that of a live one is refused.
"""

import errno
import grp
import os
import socket
import struct
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mqvpn.system.errors import OperationFailed, refused

BACKLOG = 16
MODE = 0o666
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
SO_PEERGROUPS = 59
MAX_GROUPS = 256
MAX_PATH = 107  # bytes, sun_path without its NUL


class Listener:
    """A listening socket. One that we bound ourselves takes its file along when it is closed."""

    def __init__(self, listening: socket.socket, path: Path | None = None) -> None:
        """path: None for a socket that somebody else made, such as systemd."""
        listening.setblocking(False)
        self.socket = listening
        self._path = path
        self._file = _identity(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and remove its file unless that is another's by now."""
        self.socket.close()
        if self._path is not None and self._file is not None and _identity(self._path) == self._file:
            with suppress(OSError):
                self._path.unlink()


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]

    def is_member(self, group: str) -> bool:
        """Whether it runs with this group; a group that does not exist has no members."""
        try:
            return grp.getgrnam(group).gr_gid in self.groups
        except KeyError:
            return False


def open_listener(path: Path) -> Listener:
    """Listen on `path`; a folder that is missing is made. Raises OperationFailed."""
    operation = f"listen on {path}"
    with ExitStack() as half_done:
        try:
            listening = half_done.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            if len(os.fsencode(path)) > MAX_PATH:
                raise OSError(errno.ENAMETOOLONG, "")
            path.parent.mkdir(mode=0o755, exist_ok=True)
            _remove_dead(path, operation)
            listening.bind(str(path))
            path.chmod(MODE)  # nobody can connect before listen()
            listening.listen(BACKLOG)
        except OSError as error:
            raise refused(operation, error.errno or 0, HINTS.get(error.errno or 0, "")) from error
        half_done.pop_all()
    return Listener(listening, path)


HINTS = {
    errno.EACCES: "run it as root, or in a service with RuntimeDirectory=mqvpn",
    errno.EROFS: "run it in a service with RuntimeDirectory=mqvpn",
    errno.ENOENT: "make the folder",
    errno.ENAMETOOLONG: f"a socket's path has at most {MAX_PATH} bytes: set another Socket in [Control]",
    errno.EADDRINUSE: "another mqvpn listens there: stop it, or set another Socket in [Control]",
}


def _remove_dead(path: Path, operation: str) -> None:
    """Remove the socket file of a daemon that is gone; what is no socket is not ours to remove."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                hint = "remove the file, or set another Socket in [Control]"
                raise OperationFailed(operation, "a file of another kind is there", hint) from None
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # its queue is full: alive
            pass
    raise OSError(errno.EADDRINUSE, "")


def peer(connection: socket.socket) -> Peer:
    """Who connected. Raises OSError."""
    pid, uid, gid = CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    )
    groups: tuple[int, ...] = ()
    with suppress(OSError):  # Linux 4.13; ERANGE: more than MAX_GROUPS
        found = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
        groups = struct.unpack(f"{len(found) // 4}I", found)
    return Peer(pid, uid, frozenset({gid, *groups}))


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
