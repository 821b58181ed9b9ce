# What Python is told.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.state cimport conn_t, core_t, event_kind, event_t, limit_t
from mqvpn.dataplane.udp cimport datagram_t

cdef struct owner_t:                # whose control frames a recovery_t reports
    core_t* core
    conn_t* conn

cdef event_t* event_new(core_t* core, event_kind kind, conn_t* conn, uint32_t path, uint32_t room) noexcept nogil
cdef uint8_t* event_data(event_t* event) noexcept nogil
cdef void event_finish(core_t* core, event_t* event, uint32_t length) noexcept nogil
cdef void event_bytes(core_t* core, event_kind kind, conn_t* conn, const uint8_t* data,
                      uint32_t length) noexcept nogil
cdef void event_refused(core_t* core, event_kind kind, conn_t* conn, const uint8_t* packet, uint32_t length,
                        uint64_t number, double now) noexcept nogil
cdef bint event_allowed(limit_t* limit, double now) noexcept nogil
cdef void event_slot(core_t* core, event_kind kind, conn_t* conn, uint32_t path, const datagram_t* slot,
                     const uint8_t* data, uint32_t length) noexcept nogil
cdef void event_error(core_t* core, conn_t* conn, uint64_t code, uint64_t frame, const char* reason) noexcept nogil
cdef void event_token(void* owner, uint32_t token, bint acked) noexcept nogil
cdef void event_limits(core_t* core, conn_t* conn) noexcept nogil
