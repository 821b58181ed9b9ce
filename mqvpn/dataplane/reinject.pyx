# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""IP packets in flight, kept so that they can be sent again when their path fails.

A connection with several paths writes each numbered payload into a ring of bytes, its history; a sent packet knows
where it stands there. What the ring has overwritten is gone, so memory is bounded, and nothing is allocated but when
the ring doubles, as far as the oldest packet in flight demands. When a path turns suspect or narrow, or is abandoned,
what did not arrive there and is younger than DEADLINE goes out again elsewhere, also what is known to be lost: packets
of sparse flows first, since bulk flows would hold them up. The receiver drops by its number whatever comes twice.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from mqvpn.dataplane.recovery cimport SENT_ACKED, recovery_t, sent_t
from mqvpn.dataplane.state cimport PATHS

cdef enum:
    HISTORY_FIRST = 16 * 1024
    HISTORY_MOST = 8 * 1024 * 1024
    HISTORIES_MOST = 128 * 1024 * 1024      # of all connections

cdef double DEADLINE = 0.5          # seconds since it left first after which nobody waits for a packet any more


cdef inline uint32_t size_of(uint32_t length) noexcept nogil:
    return (<uint32_t>sizeof(kept_t) + length + 7) & ~<uint32_t>7


cdef bint grow(core_t* core, conn_t* conn) noexcept nogil:
    """Twice the bytes; every record keeps its position, of which the low bits say where it stands."""
    cdef uint32_t size = conn.history_size, wanted = 2 * size if size else HISTORY_FIRST
    cdef uint8_t* data
    cdef uint64_t at
    if wanted > HISTORY_MOST or core.history_bytes + wanted - size > HISTORIES_MOST:
        return False
    data = <uint8_t*>calloc(1, wanted)
    if data == NULL:
        return False
    if size:
        at = conn.history_end & ~<uint64_t>(size - 1)       # the old ring: its newer part ends here, its older begins
        memcpy(data + (at & (wanted - 1)), conn.history, conn.history_end - at)
        if at:
            memcpy(data + ((at - size) & (wanted - 1)) + (conn.history_end - at),
                   conn.history + (conn.history_end - at), size - (conn.history_end - at))
        if conn.history_begin + size < conn.history_end:
            conn.history_begin = conn.history_end - size
    free(conn.history)
    conn.history, conn.history_size = data, wanted
    core.history_bytes += wanted - size
    return True


cdef void kept_reserve(core_t* core, conn_t* conn) noexcept nogil:
    """Before packets are added: room for as much again as the oldest packet in flight demands."""
    cdef uint64_t needed = 0, at
    cdef const recovery_t* r
    cdef int i
    if conn.history == NULL:
        grow(core, conn)
        return
    for i in range(PATHS):
        if conn.paths[i] == NULL or conn.paths[i].suspect or conn.paths[i].sent.flying == 0:
            continue
        r = &conn.paths[i].sent
        at = r.ring[r.base & (r.capacity - 1)].kept
        if at and conn.history_end - at > needed:
            needed = conn.history_end - at
    if 2 * needed > conn.history_size:
        grow(core, conn)


cdef uint64_t kept_add(core_t* core, conn_t* conn, const uint8_t* payload, uint32_t length, bint sparse,
                       double now) noexcept nogil:
    """Copy a payload; its position, 0 if it was not kept."""
    cdef uint32_t size = size_of(length), left
    cdef kept_t* record
    cdef uint64_t at
    if size > conn.history_size:
        return 0
    left = conn.history_size - <uint32_t>(conn.history_end & (conn.history_size - 1))
    if size > left:
        conn.history_end += left
    if conn.history_end == 0:               # 0 means: not kept
        conn.history_end = conn.history_size
    at = conn.history_end
    record = <kept_t*>(conn.history + (at & (conn.history_size - 1)))
    record.sent, record.length, record.sparse = now, length, sparse
    memcpy(<uint8_t*>record + sizeof(kept_t), payload, length)
    conn.history_end += size
    conn.history_used = now
    return at


cdef void kept_clear(core_t* core, conn_t* conn) noexcept nogil:
    """Forget everything."""
    core.history_bytes -= conn.history_size
    free(conn.history)
    conn.history = NULL
    conn.history_size = 0
    conn.history_begin = conn.history_end


cdef void kept_note(path_t* path, uint64_t at) noexcept nogil:
    """The packet that the path sent last is the one kept at this position."""
    path.sent.ring[(path.sent.next - 1) & (path.sent.capacity - 1)].kept = at


cdef void reinject_begin(conn_t* conn, path_t* path) noexcept nogil:
    """The path fails: what did not arrive there shall go out again elsewhere."""
    cdef const recovery_t* r = &path.sent
    if conn.history != NULL and conn.spread and conn.reinjection:
        path.again[0] = path.again[1] = r.next - r.capacity if r.next > r.capacity else 0
        path.again_end = path.sent.next
        conn.again = True


cdef inline kept_t* find(conn_t* conn, const recovery_t* r, uint64_t number, double now) noexcept nogil:
    """The kept packet of that number, unless it was acknowledged, is too old or was overwritten."""
    cdef const sent_t* s = &r.ring[number & (r.capacity - 1)]
    cdef kept_t* record
    if number + r.capacity <= r.next or s.state == SENT_ACKED or s.kept == 0:
        return NULL
    if conn.history == NULL or s.kept < conn.history_begin or s.kept + conn.history_size < conn.history_end:
        return NULL
    record = <kept_t*>(conn.history + (s.kept & (conn.history_size - 1)))
    return record if now - record.sent <= DEADLINE else NULL


cdef kept_t* reinject_next(conn_t* conn, path_t* path, bint sparse, double now) noexcept nogil:
    """The next packet to send again for that path; NULL: none of this kind is left. It is done with once
    path.again[sparse] was counted on. A path that answers needs no help."""
    cdef kept_t* record
    if not path.suspect and not path.narrow and not path.abandoned:
        path.again_end = 0
    while path.again[sparse] < path.again_end:
        record = find(conn, &path.sent, path.again[sparse], now)
        if record != NULL and record.sparse == sparse:
            return record
        path.again[sparse] += 1
    return NULL
