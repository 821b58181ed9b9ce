"""Says when somebody took something out of one nftables table (nfnetlink, include/uapi/linux/netfilter/nf_tables.h).

`nft flush ruleset`, with which many a firewall script begins, takes ours along; a wait of seconds until somebody looks
again would be a leak.
"""

import errno
import socket
import struct
from collections.abc import Iterator

from mqvpn.system.errors import refused

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
DELETIONS = {2, 5, 8, 11, 14}  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM
MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
FAMILY = struct.Struct("=BBH")  # nfgenmsg
ATTRIBUTE = struct.Struct("=HH")  # nlattr; of all these messages, attribute 1 is the table's name
TABLE_NAME = 1


class TableWatch:
    """Wait until `fileno()` is readable, then `lost()`."""

    def __init__(self, table: str) -> None:
        """Raises OperationFailed."""
        self._table = table.encode()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except OSError as error:
            self._socket.close()
            raise refused("watch the firewall", error.errno or 0) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def lost(self) -> bool:
        """Whether the table or a part of it was deleted since the last call, by whomever; never blocks. True also when
        the kernel could not keep all events."""
        found = False
        while True:
            try:
                datagram, sender = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise refused("watch the firewall", error.errno or 0) from error
                found = True
                continue
            found |= sender[0] == 0 and self._table in deleted(datagram)  # 0: the kernel, which nobody can imitate


def deleted(datagram: bytes) -> Iterator[bytes]:
    """The table of every deletion in a datagram of nfnetlink messages."""
    while len(datagram) >= MESSAGE.size:
        length, kind, *_ = MESSAGE.unpack_from(datagram)
        if length < MESSAGE.size:
            return
        body, datagram = datagram[MESSAGE.size : length], datagram[(length + 3) & ~3 :]
        if kind >> 8 == SUBSYSTEM and kind & 0xFF in DELETIONS:
            yield _table(body[FAMILY.size :])


def _table(attributes: bytes) -> bytes:
    while len(attributes) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if length < ATTRIBUTE.size:
            break
        if kind == TABLE_NAME:
            return attributes[ATTRIBUTE.size : length].rstrip(b"\0")
        attributes = attributes[(length + 3) & ~3 :]
    return b""
