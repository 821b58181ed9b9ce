# IP packets between the TUN device and a connection's DATAGRAM frames.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.state cimport conn_t, core_t, sink_t

cdef void datagram_received(core_t* core, conn_t* conn, uint8_t* data, uint32_t length, sink_t* sink,
                            double now) noexcept nogil
cdef bint packet_accept(core_t* core, packet_t* packet, double now) noexcept nogil
