# Datagrams in: protection off, frames apart.
from mqvpn.dataplane.state cimport core_t, sink_t
from mqvpn.dataplane.udp cimport datagram_t

cdef void receive_slot(core_t* core, datagram_t* slot, sink_t* sink, double now) noexcept nogil
