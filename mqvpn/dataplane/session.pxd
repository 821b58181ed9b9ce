# A connection as other compiled modules see it.
from mqvpn.dataplane.engine cimport Engine
from mqvpn.dataplane.state cimport conn_t, path_t, prefix_t
from libc.stdint cimport int64_t, uint16_t, uint32_t

cdef class Connection:
    cdef Engine engine
    cdef conn_t* conn
    cdef conn_t* live(self) except NULL
    cdef path_t* path_of(self, path_id) except NULL
    cdef int place_path(self, path_t* path, int socket, object remote, object local) except -1
    cdef void give_up(self, path_t* path)
    cdef int route(self, const prefix_t* prefixes, uint32_t count) except -1
    cdef int enqueue(self, bytes frames, int64_t path_id, uint32_t token, uint16_t pad_to) except -1
    cdef void release(self)
