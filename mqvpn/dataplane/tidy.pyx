# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Memory that a busy time took is given back: a server has many clients, of which most are idle.

Every TIDY seconds, from the first packet on and until all is as small as at first. What was not used for long is freed;
tables and rings that are mostly empty are halved, so that one which is soon full again costs one doubling.
"""
from libc.stdint cimport uint64_t
from mqvpn.dataplane.flowtable cimport flows_shrink
from mqvpn.dataplane.recovery cimport recovery_shrink
from mqvpn.dataplane.reinject cimport kept_clear
from mqvpn.dataplane.resequence cimport spread_shrink
from mqvpn.dataplane.state cimport PATHS

cdef double HISTORY_IDLE = 5.0      # seconds without packets after which their copies are forgotten


cdef void conn_tidy(core_t* core, conn_t* conn, double now) noexcept nogil:
    """Look for what can be given back, and again later if some is left."""
    cdef bint left = flows_shrink(&conn.queue, now)
    cdef int i
    left = spread_shrink(conn, now) or left
    for i in range(PATHS):
        if conn.paths[i] != NULL and not conn.again:    # what is sent again is found in the rings
            left = recovery_shrink(&conn.paths[i].sent) or left
    if conn.history != NULL and not conn.again and history_unused(conn, now):
        kept_clear(core, conn)
    left = left or conn.again or conn.history != NULL
    conn.tidy_at = now + TIDY if left else 0.0


cdef bint history_unused(conn_t* conn, double now) noexcept nogil:
    """Whether copies of packets are not needed: none comes, or all that came arrived, and of late they were few."""
    cdef uint64_t added = conn.history_end - conn.history_seen
    cdef int i
    conn.history_seen = conn.history_end
    if now - conn.history_used > HISTORY_IDLE:
        return True
    for i in range(PATHS):
        if conn.paths[i] != NULL and conn.paths[i].sent.flying:
            return False
    return added <= conn.history_size // 4
