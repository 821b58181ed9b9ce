# Segments of one flow joined into a super packet.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from mqvpn.dataplane.headers cimport headers_t
from mqvpn.dataplane.linux cimport iovec
from mqvpn.dataplane.virtio cimport virtio_t

cdef enum:
    GROUP_SEGMENTS = 64         # what every kernel with UDP_SEGMENT takes (UDP_MAX_SEGMENTS)
    GROUP_BYTES = 65535
    HEADER_BYTES = 120          # the longest IPv4 and TCP headers

cdef struct group_t:            # a super packet that grows
    uint32_t segments           # 0: free
    uint32_t opened             # the smallest number is the oldest group
    uint32_t length             # IP length so far
    uint32_t sequence           # TCP: of the next segment
    uint16_t identification     # IPv4: of the next segment, unless DF
    uint16_t gso_size           # payload of all segments but the last
    bint closed                 # takes no more
    headers_t layout            # of every segment
    virtio_t virtio
    uint8_t headers[HEADER_BYTES]
    iovec vectors[2 + GROUP_SEGMENTS]   # virtio header, headers, payloads where they lie

cdef bint mergeable(const uint8_t* packet, uint32_t size, const headers_t* headers, bint uso) noexcept nogil
cdef bint group_matches(const group_t* group, const uint8_t* packet, const headers_t* headers) noexcept nogil
cdef void group_open(group_t* group, uint8_t* packet, uint32_t size, const headers_t* headers) noexcept nogil
cdef bint group_append(
    group_t* group, uint8_t* packet, uint32_t size, const headers_t* headers
) noexcept nogil
cdef int group_finish(group_t* group) noexcept nogil
