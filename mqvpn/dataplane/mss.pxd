# The MSS that TCP connections through the tunnel agree on.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.state cimport conn_t

cdef uint32_t inner_mtu(const conn_t* conn) noexcept nogil
cdef bint mss_clamp(uint8_t* packet, uint32_t length, uint32_t mtu) noexcept nogil

cdef inline bint may_offer_mss(const uint8_t* packet, uint32_t length) noexcept nogil:
    """A first look, without reading options or extension headers: False for nearly all packets."""
    cdef uint32_t at
    if packet[0] >> 4 == 4:
        at = (packet[0] & 15) * 4
        return packet[9] == 6 and at + 20 <= length and packet[at + 13] & 2 != 0
    if packet[6] == 6:
        return 60 <= length and packet[53] & 2 != 0
    return packet[6] == 0 or packet[6] == 60
