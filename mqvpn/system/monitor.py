"""Says which interfaces changed: link, carrier, addresses, routes (rtnetlink(7)).

It reads no more of a message than the interface it is about; who wants the new state asks link.py. When the
kernel had to drop messages (ENOBUFS) everything may have changed, and that is what is reported: nothing is
ever missed.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mqvpn.system.errors import refused
from mqvpn.system.routing import PROTOCOL

RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE = 0x10, 0x40
RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE = 0x100, 0x400
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE
NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE = 16, 17, 20, 21, 24, 25
RTA_OIF = 4
MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
INDEX = struct.Struct("=4xi")  # ifi_index, and ifa_index, four bytes into their header
ROUTE = struct.Struct("=5xB6x")  # rtmsg: rtm_protocol
ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
TURN = 64  # datagrams read in one turn of the loop


@dataclass(frozen=True, slots=True)
class Changes:
    """Interface indexes about which something changed; `everything` when the kernel could not say."""

    interfaces: frozenset[int] = frozenset()
    everything: bool = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.interfaces)


class Monitor:
    """A subscription to the kernel's network events: wait until `fileno()` is readable, then `read()`."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, GROUPS))
        except OSError as error:
            self._socket.close()
            raise refused("watch the network interfaces", error.errno or 0) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Changes:
        """What changed since the last call; never blocks."""
        found: set[int | None] = set()
        for _ in range(TURN):
            try:
                message, sender = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise refused("watch the network interfaces", error.errno or 0) from error
                found.add(None)
                continue
            if sender[0] == 0:  # the kernel; another process may only imitate it
                found.update(changed(message))
        return Changes(frozenset(index for index in found if index is not None), None in found)


def changed(datagram: bytes) -> Iterator[int | None]:
    """The interface indexes that the messages in `datagram` are about; None for a message that names none."""
    while len(datagram) >= MESSAGE.size:
        length, kind, *_ = MESSAGE.unpack_from(datagram)
        if length < MESSAGE.size:
            return
        body, datagram = datagram[MESSAGE.size : length], datagram[(length + 3) & ~3 :]
        if kind in (NEWLINK, DELLINK, NEWADDR, DELADDR) and len(body) >= INDEX.size:
            yield INDEX.unpack_from(body)[0]
        elif kind in (NEWROUTE, DELROUTE) and len(body) >= ROUTE.size:
            if ROUTE.unpack_from(body)[0] == PROTOCOL:
                continue  # our own doing
            yield _route_interface(body[ROUTE.size :])


def _route_interface(attributes: bytes) -> int | None:
    """RTA_OIF; None for routes over several next hops and those without an interface."""
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if length < ATTRIBUTE.size:
            return None
        if kind == RTA_OIF and length >= 8:
            return int.from_bytes(attributes[4:8], sys.byteorder, signed=True)
        attributes = attributes[(length + 3) & ~3 :]
    return None
