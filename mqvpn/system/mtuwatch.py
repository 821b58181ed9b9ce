"""Says when an interface got another MTU (rtnetlink(7)).

The kernel tells of every change of a link; all but the MTU is ignored here. When it had to drop messages, any MTU may
be another one, and that is what is reported.
"""

import socket
import struct
import sys
from itertools import islice

from mqvpn.system.netlinkevents import Subscription, attribute, messages

LINK = 1  # RTNLGRP_LINK
NEWLINK, DELLINK = 16, 17
IFINFO = struct.Struct("=4xi8x")  # ifinfomsg: ifi_index
IFLA_MTU = 4
TURN = 64  # datagrams read at once


class MtuWatch:
    """Wait until `fileno()` is readable, then `changed()`."""

    def __init__(self) -> None:
        """Raises OperationFailed."""
        self._mtus: dict[int, int] = {}  # by interface index, of those that were told about
        self._events = Subscription("watch the interfaces' MTUs", socket.NETLINK_ROUTE, (LINK,))

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()

    def changed(self) -> bool:
        """Whether an MTU may be another one since the last call; never blocks. Raises OperationFailed."""
        found = False
        for datagram in islice(self._events.datagrams(), TURN):
            if not datagram:
                self._mtus.clear()
                found = True
            for kind, body in messages(datagram):
                found |= self._is_news(kind, body)
        return found

    def _is_news(self, kind: int, body: bytes) -> bool:
        value = attribute(body[IFINFO.size :], IFLA_MTU) if kind in (NEWLINK, DELLINK) else b""
        if len(value) != 4:
            return False
        index, mtu = IFINFO.unpack_from(body)[0], int.from_bytes(value, sys.byteorder)
        if kind == DELLINK:
            self._mtus.pop(index, None)
            return False
        former, self._mtus[index] = self._mtus.get(index), mtu
        return mtu != former
