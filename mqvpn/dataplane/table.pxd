# Tables that lead to a connection, and the list of connections to serve.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.state cimport cid_entry_t, conn_t, control_t, core_t, path_t, prefix_t

cdef cid_entry_t* cid_find(core_t* core, const uint8_t* cid) noexcept nogil
cdef int cid_add(core_t* core, const uint8_t* cid, conn_t* conn, uint32_t path_id,
                 uint32_t sequence) noexcept nogil
cdef void cid_remove(core_t* core, const uint8_t* cid) noexcept nogil
cdef void cid_remove_all(core_t* core, conn_t* conn) noexcept nogil
cdef conn_t* route_find(core_t* core, const uint8_t* ip) noexcept nogil
cdef int route_add(core_t* core, const uint8_t* ip, conn_t* conn) noexcept nogil
cdef void route_remove_all(core_t* core, conn_t* conn) noexcept nogil
cdef int conn_enlist(core_t* core, conn_t* conn, uint32_t first) noexcept nogil
cdef void conn_delist(core_t* core, conn_t* conn) noexcept nogil
cdef void conn_ready(core_t* core, conn_t* conn) noexcept nogil
cdef conn_t* conn_take(core_t* core) noexcept nogil
cdef path_t* path_find(conn_t* conn, uint32_t path_id) noexcept nogil
cdef path_t* path_obtain(conn_t* conn, uint32_t path_id) noexcept nogil
cdef void path_remove(conn_t* conn, uint32_t path_id) noexcept nogil
cdef prefix_t* prefixes_from_python(object prefixes) except? NULL
cdef bint conn_keys_confirmed(const conn_t* conn) noexcept nogil
cdef int control_lead(control_t* item, int socket, object remote, object local, bytes dcid) except -1
cdef void control_turn(path_t* path, control_t* item) noexcept nogil
cdef void control_clear(conn_t* conn) noexcept nogil
