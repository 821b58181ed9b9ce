# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""TCP's maximum segment size, clamped to what the tunnel carries (RFC 9293, section 3.7.1; RFC 6691).

Each end tells the other in its SYN how large a segment it takes. What is larger than fits the session's smallest path
is lowered in the SYN and in the SYN-ACK, whichever way they pass, so that neither end sends what would have to be
refused. The checksum is brought up to date for the two bytes alone (RFC 1624): a wrong one stays wrong.
"""
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.aead cimport TAG
from mqvpn.dataplane.headers cimport IPV6_HEADER, PROTOCOL_TCP, TCP_HEADER, headers_read, headers_t, load16, store16
from mqvpn.dataplane.stamps cimport numbering
from mqvpn.dataplane.state cimport PATHS, conn_t, path_t

cdef enum:
    SYN = 0x02
    OPTION_END = 0
    OPTION_PADDING = 1
    OPTION_MSS = 2
    IPV4_HEADER = 20
    LEAST = 48                      # bytes of payload; less is no MTU


cdef uint32_t inner_mtu(const conn_t* conn) noexcept nogil:
    """The largest IP packet that fits every path that carries any, and that the peer takes; 0: no path does."""
    cdef uint32_t least = 0, room, overhead, around = conn.prefix_length + numbering(conn)
    cdef const path_t* path
    cdef int i
    if conn.capsules:                                           # a stream: every size fits
        return 0
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL or not path.usable or path.abandoned or not path.opened:
            continue
        overhead = 1 + path.dcid_length + 4 + around + TAG
        room = path.mtu - overhead if path.mtu > overhead else 0
        least = room if least == 0 or room < least else least
    room = conn.peer_datagram - around if conn.peer_datagram > around else 0
    return room if room < least else least


cdef uint8_t* find_option(uint8_t* tcp, uint32_t length) noexcept nogil:
    """The value of the MSS option of a TCP header of `length` bytes; NULL: it has none."""
    cdef uint32_t at = TCP_HEADER
    while at < length and tcp[at] != OPTION_END:
        if tcp[at] == OPTION_PADDING:
            at += 1
            continue
        if at + 2 > length or tcp[at + 1] < 2 or at + tcp[at + 1] > length:
            return NULL
        if tcp[at] == OPTION_MSS:
            return tcp + at + 2 if tcp[at + 1] == 4 else NULL
        at += tcp[at + 1]
    return NULL


cdef void replace(uint8_t* tcp, uint8_t* value, uint32_t mss) noexcept nogil:
    """Write the new value, and the difference into the checksum (RFC 1624, equation 3)."""
    cdef uint32_t old = load16(value), total
    cdef uint32_t new = mss
    if (value - tcp) & 1:                                       # its bytes lie in two words of the sum
        old = (old >> 8) | ((old & 0xff) << 8)
        new = (new >> 8) | ((new & 0xff) << 8)
    total = (~load16(tcp + 16) & 0xffff) + (~old & 0xffff) + new
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    store16(tcp + 16, ~total & 0xffff)
    store16(value, mss)


cdef bint mss_clamp(uint8_t* packet, uint32_t length, uint32_t mtu) noexcept nogil:
    """Lower the MSS in a SYN, if it offers more than packets of `mtu` bytes can carry; whether that was done."""
    cdef headers_t headers
    cdef uint8_t* tcp
    cdef uint8_t* value
    cdef uint32_t most
    if not headers_read(packet, length, &headers) or headers.protocol != PROTOCOL_TCP:
        return False
    tcp = packet + headers.ip_length
    if headers.length == headers.ip_length or not tcp[13] & SYN:
        return False
    # RFC 6691, section 2: the headers without options count
    most = (IPV4_HEADER if headers.version == 4 else IPV6_HEADER) + TCP_HEADER
    if mtu < most + LEAST:
        return False
    most = mtu - most
    value = find_option(tcp, headers.length - headers.ip_length)
    if value == NULL or load16(value) <= most:
        return False
    replace(tcp, value, most)
    return True


def clamped(bytes packet not None, uint32_t mtu) -> bytes:
    """The packet as it passes through a tunnel for IP packets of `mtu` bytes."""
    copy = bytearray(packet)
    cdef uint8_t* data = copy
    mss_clamp(data, <uint32_t>len(packet), mtu)
    return bytes(copy)
