# Bursts of packets on their way out: ready frames and IP packets.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from mqvpn.dataplane.recovery cimport sent_kind
from mqvpn.dataplane.state cimport conn_t, core_t, path_t
from mqvpn.dataplane.udp cimport burst_t

cdef enum:
    RIDER = 400                     # bytes: an IP packet up to this size takes along the ack that its path owes

cdef struct output_t:               # where bursts go in this round
    core_t* core
    burst_t* items
    int count
    int capacity
    uint32_t bytes                  # in them
    double now

cdef bint may_send(const conn_t* conn, const path_t* path, uint32_t size) noexcept nogil
cdef bint write_frames(output_t* out, conn_t* conn, path_t* path, const uint8_t* frames, uint32_t length,
                       uint16_t pad_to, sent_kind kind, uint32_t token) noexcept nogil
cdef bint send_packets(output_t* out, conn_t* conn, double target) noexcept nogil
cdef void close_burst(conn_t* conn, path_t* path) noexcept nogil
