# Packets as they travel through the data plane.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    BATCH_PACKETS = 64          # packets read from the TUN in one turn
    REFS_PACKETS = 1024         # IP packets that one receive batch can hold

cdef struct packet_t:           # an IP packet, or a super packet of up to 64 KB with its virtio-net facts
    packet_t* next
    double arrived              # when it was read, seconds
    uint8_t* data               # the IP header
    uint32_t length             # bytes at data
    uint32_t cursor             # payload bytes already cut into segments
    uint16_t gso_size           # payload bytes of each segment; 0: an ordinary packet
    uint16_t header_length      # IP + TCP or UDP header (super packets)
    uint16_t ip_header_length
    uint16_t segment_index      # of the segment to cut next
    uint8_t protocol            # 6, 17, ...
    uint8_t version             # 4 or 6
    uint8_t small               # which pool it belongs to

cdef packet_t* packet_new(uint32_t size) noexcept nogil
cdef void packet_free(packet_t* packet) noexcept nogil
cdef int packets_left(bint small) noexcept nogil
cdef bint packet_describe(packet_t* packet, uint16_t gso_size) noexcept nogil   # False: not IP

cdef class PacketBatch:
    cdef packet_t* items[BATCH_PACKETS]
    cdef int count

cdef struct packet_ref_t:
    uint8_t* data
    uint32_t length

cdef class PacketRefs:
    cdef packet_ref_t* items
    cdef int count
    cdef int capacity
    cdef list kept              # bytes objects appended from Python stay alive here

    cpdef void clear(self) noexcept
