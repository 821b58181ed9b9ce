"""Named Unix sockets: dead ones are replaced, live ones refused, and the kernel says who connected."""

from __future__ import annotations

import grp
import os
import socket
from pathlib import Path

import pytest

from mqvpn.system.errors import OperationFailed
from mqvpn.system.unixsocket import Listener, open_listener, peer
from tests.fakes.stranger import NOBODY, connect_as, open_folder

root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot be another user")


def accept(listener: Listener) -> socket.socket:
    listener.socket.setblocking(True)
    return listener.socket.accept()[0]


def test_its_file_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "run" / "server.sock"
    with open_listener(path):
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o666
        assert path.parent.stat().st_mode & 0o022 == 0
    assert not path.exists()


def test_a_dead_daemons_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with open_listener(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_live_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_listener(path) as alive:
        callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(40)]
        for filled in (False, True):
            with pytest.raises(OperationFailed, match=f"listen on {path}.*another mqvpn listens there"):
                open_listener(path)
            for caller in callers if not filled else ():
                caller.connect_ex(str(path))  # until its queue is full
        alive.close()
        for caller in callers:
            caller.close()
    with open_listener(path):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    with pytest.raises(OperationFailed, match="a file of another kind is there"):
        open_listener(path)
    assert path.exists()


def test_another_ones_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = open_listener(path)
    path.unlink()
    with open_listener(path):
        first.close()
        assert path.is_socket()


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="at most 107 bytes"):
        open_listener(tmp_path / ("x" * 110))
    with pytest.raises(OperationFailed, match="No such file"):
        open_listener(tmp_path / "a" / "b" / "s")


def test_an_inherited_socket_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    with Listener(made):
        assert not made.getblocking()
    assert path.is_socket()


def test_who_connected(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_listener(path) as listener, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        with accept(listener) as connection:
            found = peer(connection)
    assert (found.pid, found.uid) == (os.getpid(), os.geteuid())
    assert os.getegid() in found.groups
    assert found.is_member(grp.getgrgid(os.getegid()).gr_name)
    assert not found.is_member("mqvpn-no-such-group")


@root
def test_another_user_with_a_second_group() -> None:
    second = grp.getgrall()[-1]
    with (
        open_folder() as folder,
        open_listener(folder / "s") as listener,
        connect_as(folder / "s", NOBODY, [NOBODY, second.gr_gid]),
        accept(listener) as connection,
    ):
        found = peer(connection)
    assert (found.uid, found.groups) == (NOBODY, {NOBODY, second.gr_gid})
    assert found.is_member(second.gr_name)
