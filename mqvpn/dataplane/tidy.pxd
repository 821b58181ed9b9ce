# Memory that a busy time took.
from mqvpn.dataplane.state cimport conn_t, core_t

cdef enum:
    TIDY = 10                       # seconds between looks for what can be given back

cdef inline void tidy_later(conn_t* conn, double now) noexcept nogil:
    """The connection is about to take memory."""
    if conn.tidy_at == 0.0:
        conn.tidy_at = now + TIDY

cdef void conn_tidy(core_t* core, conn_t* conn, double now) noexcept nogil
