# Acknowledgements, and the packet in hand.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.state cimport conn_t, core_t, path_t, sink_t
from mqvpn.dataplane.udp cimport datagram_t

cdef enum:
    ACK_EVERY = 2                       # ack-eliciting packets that make an ack due soon

cdef struct inbound_t:                  # the packet in hand
    core_t* core
    conn_t* conn
    path_t* path
    datagram_t* slot
    sink_t* sink
    uint64_t number
    uint32_t sequence                   # of the connection ID it came to
    int64_t generation                  # of its keys
    bint eliciting
    bint urgent                         # to be acknowledged now: more than datagrams
    double now

cdef bint read_ack(inbound_t* packet, uint64_t kind, const uint8_t* at, const uint8_t* end) noexcept nogil
cdef void note_ack(inbound_t* packet, uint32_t size) noexcept nogil
cdef uint32_t ack_frame(const conn_t* conn, const path_t* path, uint8_t* frame, double now) noexcept nogil
cdef void ack_left(conn_t* conn, path_t* path) noexcept nogil

cdef inline bint ack_due(const path_t* path, double now) noexcept nogil:
    return path.ack_at != 0.0 and path.ack_at <= now
