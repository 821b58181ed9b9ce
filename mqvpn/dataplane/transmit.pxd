# Packets out: acknowledgements, control frames, probes, IP packets.
from mqvpn.dataplane.burst cimport output_t
from mqvpn.dataplane.state cimport conn_t

cdef bint serve(output_t* out, conn_t* conn) noexcept nogil
