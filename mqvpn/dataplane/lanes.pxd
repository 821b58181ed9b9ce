# Lanes: where flows that use several paths at once are put back in order.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.state cimport conn_t, lane_t

cdef enum:
    WINDOW = 4096                   # packets a flow may be ahead of a gap; a power of two

cdef bint lanes_make(conn_t* conn) noexcept nogil
cdef bint lane_begin(conn_t* conn, lane_t* lane, uint64_t flow, uint64_t expected) noexcept nogil
cdef lane_t* lane_of(conn_t* conn, uint16_t flow, uint32_t sequence, double now) noexcept nogil
cdef bint lanes_shrink(conn_t* conn, double now) noexcept nogil
cdef void lanes_clear(conn_t* conn) noexcept nogil
