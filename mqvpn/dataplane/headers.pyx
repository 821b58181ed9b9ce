# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Where the headers of an IP packet end (RFC 791; RFC 8200, section 4; RFC 9293; RFC 768).

Only the structure is read here; no checksum. Nothing is read beyond `size`.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    HOP_BY_HOP = 0
    FRAGMENT = 44
    DESTINATION_OPTIONS = 60


cdef bint headers_read(const uint8_t* packet, uint32_t size, headers_t* out) noexcept nogil:
    """Describe the packet; False if it does not begin with a whole IPv4 or IPv6 header."""
    if size < TCP_HEADER:
        return False
    out.version = packet[0] >> 4
    out.fragment = 0
    if out.version == 4:
        if not read_ipv4(packet, size, out):
            return False
    elif out.version == 6:
        if not read_ipv6(packet, size, out):
            return False
    else:
        return False
    out.length = out.ip_length + (0 if out.fragment else transport_length(packet, size, out))
    return True


cdef bint read_ipv4(const uint8_t* packet, uint32_t size, headers_t* out) noexcept nogil:
    out.ip_length = (packet[0] & 0x0f) * 4
    out.total = load16(packet + 2)
    out.protocol = packet[9]
    out.fragment = load16(packet + 6) & 0x3fff != 0        # MF or an offset
    return out.ip_length >= 20 and out.ip_length <= size and out.ip_length <= out.total


cdef bint read_ipv6(const uint8_t* packet, uint32_t size, headers_t* out) noexcept nogil:
    cdef uint32_t at = IPV6_HEADER
    cdef uint8_t following = packet[6]
    if size < IPV6_HEADER:
        return False
    out.total = IPV6_HEADER + load16(packet + 4)
    while following == HOP_BY_HOP or following == DESTINATION_OPTIONS or following == FRAGMENT:
        if at + 8 > size:
            break
        if following == FRAGMENT:
            out.fragment = 1
            following = packet[at]
            at += 8
            break
        following = packet[at]
        at += (packet[at + 1] + 1) * 8
    if at > size:
        return False
    out.protocol = following
    out.ip_length = <uint16_t>at
    return True


cdef uint32_t transport_length(const uint8_t* packet, uint32_t size, const headers_t* ip) noexcept nogil:
    """Bytes of the TCP or UDP header; 0 if there is none, or only a part of one."""
    cdef uint32_t at = ip.ip_length, room = size - at, length
    if ip.protocol == PROTOCOL_UDP:
        return UDP_HEADER if room >= UDP_HEADER else 0
    if ip.protocol != PROTOCOL_TCP or room < TCP_HEADER:
        return 0
    length = (packet[at + 12] >> 4) * 4
    return length if length >= TCP_HEADER and length <= room else 0
