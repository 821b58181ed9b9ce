# IP packets between the TUN device and connections.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.state cimport conn_t, core_t, sink_t

cdef bint packet_allowed(core_t* core, conn_t* conn, const uint8_t* p, uint32_t length, double now) noexcept nogil
cdef void packet_deliver(core_t* core, conn_t* conn, const uint8_t* p, uint32_t length, sink_t* sink) noexcept nogil
cdef bint packet_accept(core_t* core, packet_t* packet, double now) noexcept nogil
cdef bint packet_queue(core_t* core, conn_t* conn, packet_t* packet, double now) noexcept nogil
cdef void packets_hand_over(core_t* core, conn_t* conn, double target, double now) noexcept nogil
