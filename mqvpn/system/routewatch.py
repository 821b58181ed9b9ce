"""Says when something of ours may have been taken out of the kernel's network settings (rtnetlink(7)).

That is a route or rule with our protocol number that was deleted, or any change of one interface and its addresses: an
interface that is set down loses its IPv4 routes without a word. Whether something is missing is for the reader to find
out, for what we delete ourselves is told as well.
"""

import socket
import struct
import sys
from itertools import islice

from mqvpn.system.netlinkevents import Subscription, attribute, messages
from mqvpn.system.routing import PROTOCOL

LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE = 1, 5, 7, 8  # RTNLGRP_*
IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE = 9, 11, 19
GROUPS = (LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE)
NEWLINK, DELLINK, DELADDR, DELROUTE, DELRULE = 16, 17, 21, 25, 33
OF_INTERFACE = (NEWLINK, DELLINK, DELADDR)
INDEX = struct.Struct("=4xi")  # ifi_index, and ifa_index, four bytes into their header
ROUTE = struct.Struct("=5xB6x")  # rtmsg: rtm_protocol
RULE_HEADER = 12  # fib_rule_hdr
FRA_PROTOCOL = 21
TURN = 64  # datagrams read at once


class RouteWatch:
    """Wait until `fileno()` is readable, then `lost()`. `interface`: the index of the one to watch, 0 for none."""

    def __init__(self) -> None:
        """Raises OperationFailed."""
        self.interface = 0
        self._events = Subscription("watch our routes", socket.NETLINK_ROUTE, GROUPS)

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()

    def lost(self) -> bool:
        """Whether anything of ours may be missing since the last call; never blocks. True also when the kernel could
        not keep all events. Raises OperationFailed."""
        found = False
        for datagram in islice(self._events.datagrams(), TURN):
            found |= not datagram or any(self._concerns_us(kind, body) for kind, body in messages(datagram))
        return found

    def _concerns_us(self, kind: int, body: bytes) -> bool:
        if kind in OF_INTERFACE and len(body) >= INDEX.size:
            return bool(INDEX.unpack_from(body)[0] == self.interface)
        if kind == DELROUTE and len(body) >= ROUTE.size:
            return bool(ROUTE.unpack_from(body)[0] == PROTOCOL)
        return kind == DELRULE and rule_protocol(body) == PROTOCOL


def rule_protocol(body: bytes) -> int:
    """FRA_PROTOCOL of a rule; 0 if it has none."""
    return int.from_bytes(attribute(body[RULE_HEADER:], FRA_PROTOCOL), sys.byteorder)
