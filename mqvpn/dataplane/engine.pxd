# The engine as other compiled modules see it.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.state cimport core_t

cdef class Engine:
    cdef core_t core
    cdef uint8_t* kept
    cdef uint32_t kept_next
    cdef uint32_t next_id
