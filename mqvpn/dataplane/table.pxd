# Tables that lead to a connection, the event arena, and the list of connections to serve.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.state cimport conn_t, core_t, cid_entry_t, event_kind, event_t, path_t
from mqvpn.dataplane.udp cimport endpoint_t

cdef cid_entry_t* cid_find(core_t* core, const uint8_t* cid) noexcept nogil
cdef int cid_add(core_t* core, const uint8_t* cid, conn_t* conn, uint32_t path_id) noexcept nogil
cdef void cid_remove(core_t* core, const uint8_t* cid) noexcept nogil
cdef void cid_remove_all(core_t* core, conn_t* conn) noexcept nogil
cdef conn_t* route_find(core_t* core, const uint8_t* ip) noexcept nogil
cdef int route_add(core_t* core, const uint8_t* ip, conn_t* conn) noexcept nogil
cdef void route_remove_all(core_t* core, conn_t* conn) noexcept nogil
cdef event_t* event_new(core_t* core, event_kind kind, conn_t* conn, uint32_t path, uint32_t room) noexcept nogil
cdef uint8_t* event_data(event_t* event) noexcept nogil
cdef void event_finish(core_t* core, event_t* event, uint32_t length) noexcept nogil
cdef void event_bytes(core_t* core, event_kind kind, conn_t* conn, const uint8_t* data, uint32_t length) noexcept nogil
cdef bint event_allowed(core_t* core, double now) noexcept nogil
cdef void conn_ready(core_t* core, conn_t* conn) noexcept nogil
cdef conn_t* conn_take(core_t* core) noexcept nogil
cdef path_t* path_find(conn_t* conn, uint32_t path_id) noexcept nogil
cdef path_t* path_obtain(conn_t* conn, uint32_t path_id) noexcept nogil
cdef void path_remove(conn_t* conn, uint32_t path_id) noexcept nogil
