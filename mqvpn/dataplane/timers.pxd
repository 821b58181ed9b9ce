# What time does to a connection.
from libc.stdint cimport uint32_t
from mqvpn.dataplane.state cimport conn_t, core_t, sink_t

cdef double conn_deadline(conn_t* conn, double now) noexcept nogil
cdef void timeouts(core_t* core, sink_t* sink, double now, uint32_t place) noexcept nogil
