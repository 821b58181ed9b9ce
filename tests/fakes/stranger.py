"""Connects to a Unix socket as another user: the kernel keeps a peer's credentials as they were at connect()."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="mqvpn-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def connect_as(path: Path, uid: int, groups: Sequence[int] = ()) -> socket.socket:
    """A connection to `path` made by that user with these groups, the first its own. Root may call this."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups(groups[1:])
                group = groups[0] if groups else NOBODY
                os.setresgid(group, group, group)
                os.setresuid(uid, uid, uid)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(5)
                    connection.connect(str(path))
                    socket.send_fds(theirs, [b"x"], [connection.fileno()])
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "it could not connect"
        _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=fd)
