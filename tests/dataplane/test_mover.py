"""The inner loop waits for packets itself, also where the kernel, or a container's filter, lacks its favourite call."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.mover import Mover
from mqvpn.dataplane.tun import Tun
from mqvpn.dataplane.udp import Sockets
from tests.lab.child import in_child

EPOLL_PWAIT2 = 441  # on every architecture
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2  # prctl(2)
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000  # SECCOMP_RET_*


def refuse(code: int) -> Callable[[], None]:
    """From now on this process has no epoll_pwait2(), as errno `code` says (seccomp(2))."""

    def prepare() -> None:
        rows = ((LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, EPOLL_PWAIT2), (RETURN, 0, 0, FAIL_WITH | code))
        program = b"".join(struct.pack("=HBBI", *row) for row in (*rows, (RETURN, 0, 0, ALLOW)))
        buffer = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(SET_SECCOMP, FILTER, described, 0, 0) == 0, ctypes.get_errno()

    return prepare


def waits() -> tuple[float, float]:
    """Seconds that an idle loop takes to end, and that it takes to see another descriptor readable after 10 ms."""
    machine, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours, others = socket.socketpair()
    device.setblocking(False)
    with machine, device, ours, others, select.epoll() as epoll:
        for opened in (device, others):
            epoll.register(opened, select.EPOLLIN)
        engine = Engine(is_server=False)
        mover = Mover(engine, Tun(device.fileno(), vnet_header=False), Sockets(), epoll.fileno(), others.fileno())
        took = []
        for after in (None, 0.01):
            began = time.monotonic()
            if after is not None:
                threading.Timer(after, ours.send, (b"x",)).start()
            mover.run(clock() + 1.0)
            took.append(time.monotonic() - began)
    return took[0], took[1]


@pytest.mark.parametrize("code", [0, errno.ENOSYS, errno.EPERM], ids=["there", "old kernel", "filtered"])
def test_it_waits_for_packets_and_until_it_is_quiet(code: int) -> None:
    idle, asked = in_child(refuse(code) if code else lambda: None, waits)
    assert 0.045 <= idle < 0.5
    assert asked < idle
    assert asked >= 0.005


def test_packets_do_not_wait_behind_a_queue_of_handshakes() -> None:
    """Python takes milliseconds for each; the whole queue is read before it has its turn."""
    machine, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    device.setblocking(False)
    with (
        machine,
        device,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as crowd,
        select.epoll() as epoll,
    ):
        server.bind(("127.0.0.1", 0))
        engine, sockets = Engine(is_server=True), Sockets()
        sockets.add(0, server.fileno(), server.family)
        mover = Mover(engine, Tun(device.fileno(), vnet_header=False), sockets, epoll.fileno())
        mover.watch({0: server.fileno()})
        for _ in range(50):
            crowd.sendto(b"\xc0" + bytes(1199), server.getsockname())
        mover.run(clock())
        assert len(engine.events()) == 50
