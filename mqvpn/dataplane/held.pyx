# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Room for packets that wait for earlier ones (resequence.pyx).

Small ones lie in the buffers of packet.pyx, larger ones (jumbo frames) in memory of their own: a super packet's buffer
would be seven times as large. Both are counted by the memory they take, since a packet may have 1 to 64 KB: one
connection has HELD_BYTES, and of the buffers no more than are left for all others, so that no peers take them all;
large packets of all have HELD_LARGE.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from mqvpn.dataplane.packet cimport packet_free, packet_new, packets_left

cdef enum:
    HELD_BYTES = 8 * 1024 * 1024    # 4096 small buffers, of 32,768
    HELD_LARGE = 64 * 1024 * 1024

cdef uint64_t large_held = 0        # bytes


cdef packet_t* held_new(conn_t* conn, uint32_t length) noexcept nogil:
    """Room for a packet of that connection's; NULL: none is left."""
    global large_held
    cdef packet_t* packet = NULL
    if conn.held_bytes + memory_of(length) > HELD_BYTES:
        return NULL
    if length <= HELD_SMALL:
        packet = packet_new(length) if <int>conn.held <= packets_left(True) else NULL
    elif large_held + length <= HELD_LARGE:
        packet = <packet_t*>malloc(sizeof(packet_t) + length)
        if packet != NULL:
            packet.data = <uint8_t*>packet + sizeof(packet_t)
            large_held += length
    if packet != NULL:
        packet.length = length
    return packet


cdef void held_free(packet_t* packet) noexcept nogil:
    global large_held
    if packet.length <= HELD_SMALL:
        packet_free(packet)
        return
    large_held -= packet.length
    free(packet)


cdef void released_free(core_t* core) noexcept nogil:
    """Room of packets whose delivery is over."""
    cdef packet_t* packet
    while core.released != NULL:
        packet = core.released
        core.released = packet.next
        held_free(packet)
