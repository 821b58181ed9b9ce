"""Says when somebody took something out of one nftables table (nfnetlink, include/uapi/linux/netfilter/nf_tables.h).

`nft flush ruleset`, with which many a firewall script begins, takes ours along; a wait of seconds until somebody looks
again would be a leak.
"""

import struct
from collections.abc import Iterator

from mqvpn.system.netlinkevents import Subscription, attribute, messages

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
DELETIONS = {2, 5, 8, 11, 14}  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM
FAMILY = struct.Struct("=BBH")  # nfgenmsg
TABLE_NAME = 1  # the attribute of all these messages


class TableWatch:
    """Wait until `fileno()` is readable, then `lost()`."""

    def __init__(self, table: str) -> None:
        """Raises OperationFailed."""
        self._table = table.encode()
        self._events = Subscription("watch the firewall", NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))

    def fileno(self) -> int:
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()

    def lost(self) -> bool:
        """Whether the table or a part of it was deleted since the last call, by whomever; never blocks. True also when
        the kernel could not keep all events. Raises OperationFailed."""
        found = False
        for datagram in self._events.datagrams():
            found |= not datagram or self._table in deleted(datagram)
        return found


def deleted(datagram: bytes) -> Iterator[bytes]:
    """The table of every deletion in a datagram of nfnetlink messages."""
    for kind, body in messages(datagram):
        if kind >> 8 == SUBSYSTEM and kind & 0xFF in DELETIONS:
            yield attribute(body[FAMILY.size :], TABLE_NAME).rstrip(b"\0")
