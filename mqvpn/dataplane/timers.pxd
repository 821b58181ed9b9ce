# What time does to a connection.
from mqvpn.dataplane.state cimport conn_t, core_t, sink_t

cdef double conn_deadline(conn_t* conn, double now) noexcept nogil
cdef void conn_timeout(core_t* core, conn_t* conn, sink_t* sink, double now) noexcept nogil
