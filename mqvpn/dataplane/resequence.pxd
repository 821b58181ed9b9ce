# Flows that use several paths at once, put back in order.
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from mqvpn.dataplane.state cimport PATHS, conn_t, core_t, lane_t, sink_t

cdef enum:
    SPREAD_CONTEXT = 2              # the even Context ID that spread flows use
    SPREAD_BYTES = 6                # flow and sequence number behind it

cdef void lane_take(core_t* core, conn_t* conn, lane_t* lane, int slot, uint64_t number, const uint8_t* data,
                    uint32_t length, sink_t* sink, double now) noexcept nogil
cdef void spread_received(core_t* core, conn_t* conn, int slot, const uint8_t* data, uint32_t length, sink_t* sink,
                          double now) noexcept nogil
cdef void spread_timeout(core_t* core, conn_t* conn, sink_t* sink, double now) noexcept nogil
cdef double spread_deadline(const conn_t* conn) noexcept nogil
cdef bint spread_shrink(conn_t* conn, double now) noexcept nogil
cdef void spread_clear(conn_t* conn) noexcept nogil
cdef object order_figures(const conn_t* conn)
