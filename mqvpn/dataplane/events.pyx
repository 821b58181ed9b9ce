# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What Python is told: records in one arena, drained once per wake-up (engine.pyi lists the kinds)."""
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset
from mqvpn.dataplane.reinject cimport reinject_begin
from mqvpn.dataplane.state cimport EVENT_ERROR, EVENT_KEY_LIMIT, EVENT_LARGE_LOST, EVENT_TOKEN, PATHS, path_t

cdef enum:
    ARENA_FIRST = 16384
    ARENA_MOST = 4 * 1024 * 1024    # events of one wake-up; what does not fit is lost like a packet
    LIMITED = 100                   # rate-limited events a second
    LARGE_LOSSES = 6                # with later smaller ones acknowledged: a black hole, perhaps
    QUOTED = 1300                   # bytes of a refused packet told to Python: enough for an ICMP error


cdef event_t* event_new(core_t* core, event_kind kind, conn_t* conn, uint32_t path, uint32_t room) noexcept nogil:
    """A record with room for that many bytes of data; finish it before the next. NULL: the arena is full."""
    cdef uint32_t need = sizeof(event_t) + ((room + 7) & ~7), capacity = core.arena_capacity
    cdef uint8_t* arena
    cdef event_t* event
    if core.arena_used + need > capacity:
        capacity = capacity if capacity else ARENA_FIRST
        while core.arena_used + need > capacity:
            capacity *= 2
        arena = <uint8_t*>realloc(core.arena, capacity) if capacity <= ARENA_MOST else NULL
        if arena == NULL:
            return NULL
        core.arena = arena
        core.arena_capacity = capacity
    event = <event_t*>(core.arena + core.arena_used)
    memset(event, 0, sizeof(event_t))
    event.kind = kind
    event.conn = conn.id if conn != NULL else 0
    event.path = path
    return event


cdef uint8_t* event_data(event_t* event) noexcept nogil:
    return <uint8_t*>event + sizeof(event_t)


cdef void event_finish(core_t* core, event_t* event, uint32_t length) noexcept nogil:
    """The record holds length bytes of data and is to be reported."""
    event.length = length
    event.size = sizeof(event_t) + ((length + 7) & ~7)
    core.arena_used += event.size


cdef void event_bytes(core_t* core, event_kind kind, conn_t* conn, const uint8_t* data,
                      uint32_t length) noexcept nogil:
    cdef event_t* event = event_new(core, kind, conn, 0, length)
    if event == NULL:
        return
    if length:
        memcpy(event_data(event), data, length)
    event_finish(core, event, length)


cdef bint event_allowed(limit_t* limit, double now) noexcept nogil:
    """Whether one more event of a kind that others can cause at will may be reported in this second."""
    if now - limit.second >= 1.0:
        limit.second = now
        limit.count = 0
    limit.count += 1
    return limit.count <= LIMITED


cdef void event_refused(core_t* core, event_kind kind, conn_t* conn, const uint8_t* packet, uint32_t length,
                        uint64_t number, double now) noexcept nogil:
    """An IP packet was dropped and its sender should hear of it; number: the MTU, or the drop reason."""
    cdef event_t* event = NULL
    length = length if length < QUOTED else QUOTED
    if event_allowed(&core.limit if conn == NULL else &conn.limit, now):
        event = event_new(core, kind, conn, 0, length)
    if event != NULL:
        event.a = number
        event.b = conn != NULL
        memcpy(event_data(event), packet, length)
        event_finish(core, event, length)


cdef void event_slot(core_t* core, event_kind kind, conn_t* conn, uint32_t path, const datagram_t* slot,
                     const uint8_t* data, uint32_t length) noexcept nogil:
    """An event that tells where a datagram came from, with its bytes or without."""
    cdef event_t* event = event_new(core, kind, conn, path, length)
    if event == NULL:
        return
    event.socket = slot.socket
    event.remote = slot.remote
    event.local = slot.local
    if length:
        memcpy(event_data(event), data, length)
    event_finish(core, event, length)


cdef void event_error(core_t* core, conn_t* conn, uint64_t code, uint64_t frame, const char* reason) noexcept nogil:
    """The peer broke a rule: Python shall close the connection with this transport error."""
    cdef uint32_t length = 0
    cdef event_t* event
    while reason[length]:
        length += 1
    event = event_new(core, EVENT_ERROR, conn, 0, length)
    if event == NULL:
        return
    event.a = code
    event.b = frame
    memcpy(event_data(event), reason, length)
    event_finish(core, event, length)


cdef void event_token(void* owner, uint32_t token, bint acked) noexcept nogil:
    """recovery's callback: control frames were acknowledged, or are lost. owner: an owner_t."""
    cdef owner_t* whose = <owner_t*>owner
    cdef event_t* event = event_new(whose.core, EVENT_TOKEN, whose.conn, 0, 0)
    if event == NULL:
        return
    event.a = token
    event.b = acked
    event_finish(whose.core, event, 0)


cdef void event_limits(core_t* core, conn_t* conn) noexcept nogil:
    """Keys that were used for long (RFC 9001, section 6.6); paths that large packets do not seem to pass any more."""
    cdef event_t* event
    cdef path_t* path
    cdef int i
    if conn.seal_limit and conn.sealed >= conn.seal_limit:
        conn.seal_limit = 0
        event_bytes(core, EVENT_KEY_LIMIT, conn, NULL, 0)
    for i in range(PATHS):
        path = conn.paths[i]
        if path != NULL and path.sent.large_lost >= LARGE_LOSSES:
            path.sent.large_lost = 0
            event = event_new(core, EVENT_LARGE_LOST, conn, path.id, 0)
            if event != NULL:
                event_finish(core, event, 0)
                path.narrow = True          # until Python, which hears of it, has asked the path
                reinject_begin(conn, path)
