"""Without a free file descriptor whatever opens one says so as it says all else that the kernel refuses, and what it
had opened already is closed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mqvpn.system import namespace, nft, sockets, unixsocket
from mqvpn.system.errors import OperationFailed, is_exhaustion
from mqvpn.system.link import Netlink
from mqvpn.system.monitor import Monitor
from mqvpn.system.nftwatch import TableWatch
from mqvpn.system.routewatch import RouteWatch
from tests.lab.child import in_child
from tests.lab.descriptors import without_descriptors

OPENED: dict[str, Callable[[Path], Any]] = {
    "monitor": lambda folder: Monitor(),
    "routewatch": lambda folder: RouteWatch(),
    "nftwatch": lambda folder: TableWatch("t"),
    "netlink": lambda folder: Netlink(),
    "udp": lambda folder: sockets.open_path_socket(None, None),
    "tcp": lambda folder: sockets.open_tcp_socket("127.0.0.1", 0),
    "control": lambda folder: unixsocket.open_listener(folder / "s"),
    "namespace": lambda folder: namespace.alone().__enter__(),
    "nft": lambda folder: nft.tables(),
}


@pytest.mark.parametrize("what", OPENED)
def test_what_finds_none_says_so(tmp_path: Path, what: str) -> None:
    def run() -> None:
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(OperationFailed, match="Too many open files") as refused, without_descriptors():
            OPENED[what](tmp_path)
        assert is_exhaustion(refused.value)
        assert refused.value.code == errno.EMFILE
        assert set(os.listdir("/proc/self/fd")) == before

    in_child(lambda: None, run)
