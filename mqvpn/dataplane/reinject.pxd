# IP packets in flight, kept so that they can be sent again on another path.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.state cimport conn_t, core_t, path_t

cdef struct kept_t:                 # in front of the payload of a DATAGRAM frame
    double sent                     # when it left first
    uint32_t length
    uint8_t sparse                  # its flow had nothing else waiting

cdef void kept_reserve(core_t* core, conn_t* conn) noexcept nogil
cdef uint64_t kept_add(core_t* core, conn_t* conn, const uint8_t* payload, uint32_t length, bint sparse,
                       double now) noexcept nogil
cdef void kept_clear(core_t* core, conn_t* conn) noexcept nogil
cdef void kept_note(path_t* path, uint64_t at) noexcept nogil
cdef void reinject_begin(conn_t* conn, path_t* path) noexcept nogil
cdef kept_t* reinject_next(conn_t* conn, path_t* path, bint sparse, double now) noexcept nogil
