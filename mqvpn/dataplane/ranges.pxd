# Received packet numbers of one path.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    RANGES = 64                     # gaps remembered; older numbers count as duplicates
    ACKED_RANGES = 32               # gaps told in one PATH_ACK
    ACK_BYTES = 16 * ACKED_RANGES + 72      # an ACK or PATH_ACK frame at most

cdef struct range_t:
    uint64_t low
    uint64_t high

cdef struct ranges_t:
    uint64_t floor                  # everything below is taken as received
    int count
    range_t items[RANGES]           # newest first, disjoint, not adjacent

cdef bint ranges_has(const ranges_t* ranges, uint64_t number) noexcept nogil
cdef bint ranges_add(ranges_t* ranges, uint64_t number) noexcept nogil
cdef uint32_t ranges_write_ack(const ranges_t* ranges, uint8_t* out, uint32_t path_id, uint64_t delay,
                               bint multipath, const uint64_t* ecn) noexcept nogil
