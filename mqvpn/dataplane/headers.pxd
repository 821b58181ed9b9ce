# Where the headers of an IP packet end.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17
    IPV6_HEADER = 40
    TCP_HEADER = 20             # without options
    UDP_HEADER = 8

cdef struct headers_t:
    uint8_t version             # 4 or 6
    uint8_t protocol            # what follows the IP header and the extension headers we know
    uint8_t fragment            # a fragment: `length` is `ip_length`
    uint16_t ip_length          # IP header with options or extension headers
    uint16_t length             # IP and whole TCP or UDP header; else ip_length
    uint32_t total              # length of the packet, as its own IP header says

cdef bint headers_read(const uint8_t* packet, uint32_t size, headers_t* out) noexcept nogil

cdef inline uint16_t load16(const uint8_t* at) noexcept nogil:     # network byte order
    return <uint16_t>((at[0] << 8) | at[1])

cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]

cdef inline void store16(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value

cdef inline void store32(uint8_t* at, uint32_t value) noexcept nogil:
    store16(at, value >> 16)
    store16(at + 2, value)
