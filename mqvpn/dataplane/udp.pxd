# Datagrams received in batches (GRO) and bursts to send (GSO).
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    RECEIVE_SLOTS = 8
    SEND_SLOTS = 8
    SLOT_BYTES = 66000

cdef struct endpoint_t:         # 24 bytes, compared by memcmp
    uint8_t ip[16]              # IPv4 as ::ffff:a.b.c.d
    uint32_t scope
    uint16_t port               # host order
    uint16_t pad                # 0

cdef struct datagram_t:         # one receive slot: equal segments, the last may be shorter
    endpoint_t remote
    endpoint_t local
    uint8_t* data
    uint32_t length
    uint16_t segment            # bytes of each datagram; == length when there is one
    uint8_t socket
    uint8_t ecn

cdef struct burst_t:            # one sendmsg: equal segments, the last may be shorter
    endpoint_t remote
    endpoint_t local            # ip all zero: the kernel chooses
    uint8_t* data
    uint32_t length
    uint16_t segment
    uint8_t socket
    uint8_t ecn                 # RFC 3168, section 5

cdef class Datagrams:
    cdef datagram_t* items
    cdef int count
    cdef int capacity

cdef class Bursts:
    cdef burst_t* items
    cdef int count
    cdef int capacity

cdef int endpoint_from_python(endpoint_t* out, object endpoint) except -1
cdef object endpoint_to_python(const endpoint_t* endpoint)
