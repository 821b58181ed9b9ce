"""Why a packet was not passed on.

The compiled engine counts by these numbers and the status output shows their names, so a number is never
reused for another meaning (18 had one). A packet never raises: it is dropped and counted here.
"""

from enum import IntEnum


class Drop(IntEnum):
    """Reason for giving up one packet."""

    TOO_SHORT = 0  # the datagram or IP packet ends before its headers do
    NOT_IP = 1  # the payload is neither IPv4 nor IPv6, or its length field is wrong
    SOURCE_NOT_ASSIGNED = 2  # the inner source address was not assigned to the sender (RFC 9484, section 11)
    NO_ROUTE = 3  # no session and no route takes the inner destination address
    HOP_LIMIT = 4  # TTL or Hop Limit ran out while encapsulating (RFC 9484, section 7.2)
    NO_PATH = 5  # no path of the connection can carry user traffic now
    TOO_BIG = 6  # larger than the tunnel MTU
    QUEUE_FULL = 7  # the client's share of queue memory is used up
    QUEUE_DELAY = 8  # CoDel dropped it from the head of its queue (RFC 8289)
    UNKNOWN_CONNECTION = 9  # no connection has this Destination Connection ID
    UNDECRYPTABLE = 10  # the AEAD refused the packet
    DUPLICATE = 11  # this packet number was received before
    UNKNOWN_CONTEXT = 12  # an HTTP Datagram with a Context ID nobody registered (RFC 9484, section 5)
    UNKNOWN_STREAM = 13  # an HTTP Datagram for a request stream that is not open (RFC 9297, section 2.1)
    BAD_OFFLOAD = 14  # the virtio-net header contradicts the packet behind it
    TUN_WRITE = 15  # the kernel refused the packet on the TUN device
    SOCKET_SEND = 16  # the kernel refused the datagram on the UDP socket
    LINK_LOCAL = 17  # link-local traffic is not forwarded beyond the tunnel (RFC 9484, section 7.2)
    DATAGRAM_LOST = 19  # sent in a DATAGRAM frame that was declared lost (RFC 9221, section 5.2)
    NO_MEMORY = 20  # an allocation failed
