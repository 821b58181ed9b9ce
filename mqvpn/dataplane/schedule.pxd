# Which path carries a flow's next burst.
from libc.stdint cimport int64_t
from mqvpn.dataplane.flow cimport flow_t
from mqvpn.dataplane.state cimport PATHS, conn_t, path_t

cdef struct choice_t:               # the paths that may be used in this turn
    int count
    bint failing                    # they are all suspect or narrow
    int slots[PATHS]
    int64_t room[PATHS]             # by slot: bytes the path may take now

cdef void choices_make(conn_t* conn, choice_t* choice, double now) noexcept nogil
cdef int choose(conn_t* conn, flow_t* flow, choice_t* choice, double now) noexcept nogil
cdef int copies_of(const conn_t* conn, const choice_t* choice) noexcept nogil
cdef bint takes_copies(const conn_t* conn, const choice_t* choice, int slot) noexcept nogil
cdef int earliest(conn_t* conn, const choice_t* choice) noexcept nogil
cdef path_t* control_path(conn_t* conn, double now) noexcept nogil
