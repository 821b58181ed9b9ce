# HTTP datagrams in.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.state cimport conn_t, core_t, path_t, sink_t

cdef void datagram_received(core_t* core, conn_t* conn, path_t* path, uint8_t* data, uint32_t length, sink_t* sink,
                            double now) noexcept nogil
