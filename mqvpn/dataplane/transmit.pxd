# Packets out: acknowledgements, control frames, probes, IP packets.
from mqvpn.dataplane.state cimport conn_t, core_t
from mqvpn.dataplane.udp cimport burst_t

cdef struct output_t:               # where bursts go in this turn
    core_t* core
    burst_t* items
    int count
    int capacity
    double now

cdef bint serve(output_t* out, conn_t* conn) noexcept nogil
