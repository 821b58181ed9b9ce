"""Says which interfaces changed: link, carrier, addresses, routes (rtnetlink(7)).

It reads no more of a message than the interface it is about; who wants the new state asks link.py. When the
kernel had to drop messages everything may have changed, and that is what is reported.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mqvpn.system.netlinkevents import Subscription, attribute, messages
from mqvpn.system.routing import PROTOCOL

LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE = 1, 5, 7, 9, 11  # RTNLGRP_*
NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE = 16, 17, 20, 21, 24, 25
RTA_OIF = 4
INDEX = struct.Struct("=4xi")  # ifi_index, and ifa_index, four bytes into their header
ROUTE = struct.Struct("=5xB6x")  # rtmsg: rtm_protocol
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
        """Raises OperationFailed."""
        groups = (LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE)
        self._events = Subscription("watch the network interfaces", socket.NETLINK_ROUTE, groups)

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()

    def read(self) -> Changes:
        """What changed since the last call; never blocks. Raises OperationFailed."""
        found: set[int | None] = set()
        for datagram in islice(self._events.datagrams(), TURN):
            found.update(changed(datagram) if datagram else {None})
        return Changes(frozenset(index for index in found if index is not None), None in found)


def changed(datagram: bytes) -> Iterator[int | None]:
    """The interface indexes that the messages in `datagram` are about; None for a message that names none."""
    for kind, body in messages(datagram):
        if kind in (NEWLINK, DELLINK, NEWADDR, DELADDR) and len(body) >= INDEX.size:
            yield INDEX.unpack_from(body)[0]
        elif kind in (NEWROUTE, DELROUTE) and len(body) >= ROUTE.size and not _is_our_own(body):
            yield _route_interface(body[ROUTE.size :])


def _is_our_own(route: bytes) -> bool:
    return bool(ROUTE.unpack_from(route)[0] == PROTOCOL)


def _route_interface(attributes: bytes) -> int | None:
    """RTA_OIF; None for routes over several next hops and those without an interface."""
    value = attribute(attributes, RTA_OIF)
    return int.from_bytes(value, sys.byteorder, signed=True) if len(value) == 4 else None
