# Room for packets that wait for earlier ones.
from libc.stdint cimport uint32_t
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.state cimport conn_t, core_t

cdef enum:
    HELD_SMALL = 2048               # a packet of up to so many bytes lies in a small buffer of the pool

cdef inline uint32_t memory_of(uint32_t length) noexcept nogil:
    return HELD_SMALL if length <= HELD_SMALL else length

cdef packet_t* held_new(conn_t* conn, uint32_t length) noexcept nogil
cdef void held_free(packet_t* packet) noexcept nogil
cdef void released_free(core_t* core) noexcept nogil
