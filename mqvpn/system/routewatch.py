"""Says when something of ours may have been taken out of the kernel's network settings (rtnetlink(7)).

That is a route or rule with our protocol number that was deleted, or any change of one interface and its addresses: an
interface that is set down loses its IPv4 routes without a word. Whether something is missing is for the reader to find
out, for what we delete ourselves is told as well.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator

from mqvpn.system.errors import refused
from mqvpn.system.routing import PROTOCOL

LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE = 1, 5, 7, 8  # RTNLGRP_*
IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE = 9, 11, 19
GROUPS = (LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE)
NEWLINK, DELLINK, DELADDR, DELROUTE, DELRULE = 16, 17, 21, 25, 33
OF_INTERFACE = (NEWLINK, DELLINK, DELADDR)
MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
INDEX = struct.Struct("=4xi")  # ifi_index, and ifa_index, four bytes into their header
ROUTE = struct.Struct("=5xB6x")  # rtmsg: rtm_protocol
RULE_HEADER = 12  # fib_rule_hdr
ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
FRA_PROTOCOL = 21
TURN = 64  # datagrams read at once


class RouteWatch:
    """Wait until `fileno()` is readable, then `lost()`. `interface`: the index of the one to watch, 0 for none."""

    def __init__(self) -> None:
        """Raises OperationFailed."""
        self.interface = 0
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, sum(1 << (group - 1) for group in GROUPS)))
        except OSError as error:
            self._socket.close()
            raise refused("watch our routes", error.errno or 0) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def lost(self) -> bool:
        """Whether anything of ours may be missing since the last call; never blocks. True also when the kernel could
        not keep all events."""
        found = False
        for _ in range(TURN):
            try:
                datagram, sender = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise refused("watch our routes", error.errno or 0) from error
                found = True
                continue
            if sender[0] == 0:  # the kernel, which nobody can imitate
                found |= any(self._concerns_us(kind, body) for kind, body in messages(datagram))
        return found

    def _concerns_us(self, kind: int, body: bytes) -> bool:
        if kind in OF_INTERFACE and len(body) >= INDEX.size:
            return bool(INDEX.unpack_from(body)[0] == self.interface)
        if kind == DELROUTE and len(body) >= ROUTE.size:
            return bool(ROUTE.unpack_from(body)[0] == PROTOCOL)
        return kind == DELRULE and rule_protocol(body) == PROTOCOL


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of every message in a datagram."""
    while len(datagram) >= MESSAGE.size:
        length, kind, *_ = MESSAGE.unpack_from(datagram)
        if length < MESSAGE.size:
            return
        yield kind, datagram[MESSAGE.size : length]
        datagram = datagram[(length + 3) & ~3 :]


def rule_protocol(body: bytes) -> int:
    """FRA_PROTOCOL of a rule; 0 if it has none."""
    attributes = body[RULE_HEADER:]
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if length < ATTRIBUTE.size:
            break
        if kind == FRA_PROTOCOL:
            return int.from_bytes(attributes[ATTRIBUTE.size : length], sys.byteorder)
        attributes = attributes[(length + 3) & ~3 :]
    return 0
