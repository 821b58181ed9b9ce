"""What the kernel tells to all who listen: multicast groups of netlink(7), and how its messages are cut.

A reader gets to know what may have changed, no more; when the kernel had to drop messages (ENOBUFS) it is told that, so
nothing is ever missed.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from mqvpn.system.errors import refused

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
MAX_DATAGRAM = 1 << 16  # bytes
DRAIN = 4096  # datagrams read at once after an overrun; a socket's buffer holds a few hundred


class Subscription:
    """Wait until `fileno()` is readable, then read `datagrams()`."""

    def __init__(self, purpose: str, protocol: int, groups: Iterable[int]) -> None:
        """purpose: for errors, such as "watch our routes"; groups: RTNLGRP_* or NFNLGRP_*. Raises OperationFailed."""
        self._purpose = purpose
        self._overrun = False  # some were dropped, and what waits is older than that
        with ExitStack() as half_done:
            try:
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
                half_done.callback(self._socket.close)
                self._socket.bind((0, 0))
                for group in groups:
                    self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            except OSError as error:
                raise refused(purpose, error.errno or 0) from error
            half_done.pop_all()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def datagrams(self) -> Iterator[bytes]:
        """All since the last call, without waiting; an empty one stands for those that the kernel had to drop. Raises
        OperationFailed."""
        while True:
            if self._overrun:
                self._overrun = not self._drain()
                yield b""
                if self._overrun:
                    return
            try:
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._check(error)
                continue
            if sender[0] == 0:  # the kernel; another process may only imitate it
                yield datagram

    def _drain(self) -> bool:
        """Read what waits; whether nothing does then. Until then the kernel drops all that is new, and does not say so
        again: who looks how things are before would miss what changes in between."""
        for _ in range(DRAIN):
            try:
                self._socket.recvfrom(0)
            except BlockingIOError:
                return True
            except OSError as error:
                self._check(error)
        return False

    def _check(self, error: OSError) -> None:
        if error.errno != errno.ENOBUFS:
            raise refused(self._purpose, error.errno or 0) from error
        self._overrun = True


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of every message in a datagram."""
    while len(datagram) >= MESSAGE.size:
        length, kind, *_ = MESSAGE.unpack_from(datagram)
        if length < MESSAGE.size:
            return
        yield kind, datagram[MESSAGE.size : length]
        datagram = datagram[(length + 3) & ~3 :]


def attribute(attributes: bytes, wanted: int) -> bytes:
    """The value of the first attribute of this type; empty if there is none."""
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if length < ATTRIBUTE.size:
            break
        if kind == wanted:
            return attributes[ATTRIBUTE.size : length]
        attributes = attributes[(length + 3) & ~3 :]
    return b""
