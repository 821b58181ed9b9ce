# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a packet finds its connection: connection IDs, inner host addresses, path IDs; and whose turn it is.

The two hash tables use open addressing with linear probing; removal shifts entries back, so there are no
tombstones. Connection IDs are our own random numbers.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy
from mqvpn.dataplane.ecn cimport ecn_reset
from mqvpn.dataplane.congestion cimport congestion_choose
from mqvpn.dataplane.deadlines cimport deadline_set, deadlines_grow
from mqvpn.dataplane.recovery cimport recovery_clear, recovery_reset
from mqvpn.dataplane.state cimport PATHS, route_entry_t
from mqvpn.dataplane.udp cimport endpoint_from_python

cdef enum:
    TABLE_FIRST = 64
    CONNS_FIRST = 8
    FIRST_SEGMENT = 1200            # until the path's MTU is known

cdef uint64_t GOLDEN = 0x9e3779b97f4a7c15


cdef inline uint64_t load_cid(const uint8_t* cid) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, cid, 8)
    return value


cdef inline uint32_t cid_slot(const core_t* core, uint64_t cid) noexcept nogil:
    return <uint32_t>((cid * GOLDEN) >> 32) & (core.cid_capacity - 1)


cdef cid_entry_t* cid_find(core_t* core, const uint8_t* cid) noexcept nogil:
    """The entry of one of our connection IDs (8 bytes), or NULL."""
    cdef uint64_t value = load_cid(cid)
    cdef uint32_t i
    if core.cid_count == 0:
        return NULL
    i = cid_slot(core, value)
    while core.cids[i].conn != NULL:
        if core.cids[i].cid == value:
            return &core.cids[i]
        i = (i + 1) & (core.cid_capacity - 1)
    return NULL


cdef int cid_grow(core_t* core) noexcept nogil:
    cdef cid_entry_t* old = core.cids
    cdef uint32_t capacity = core.cid_capacity, i, k
    core.cids = <cid_entry_t*>calloc(capacity * 2 if capacity else TABLE_FIRST, sizeof(cid_entry_t))
    if core.cids == NULL:
        core.cids = old
        return -1
    core.cid_capacity = capacity * 2 if capacity else TABLE_FIRST
    for k in range(capacity):
        if old[k].conn != NULL:
            i = cid_slot(core, old[k].cid)
            while core.cids[i].conn != NULL:
                i = (i + 1) & (core.cid_capacity - 1)
            core.cids[i] = old[k]
    free(old)
    return 0


cdef int cid_add(core_t* core, const uint8_t* cid, conn_t* conn, uint32_t path_id,
                 uint32_t sequence) noexcept nogil:
    """0; 1 if the ID is taken; -1 without memory."""
    cdef uint64_t value = load_cid(cid)
    cdef uint32_t i
    if cid_find(core, cid) != NULL:
        return 1
    if core.cid_count * 2 >= core.cid_capacity and cid_grow(core) != 0:
        return -1
    i = cid_slot(core, value)
    while core.cids[i].conn != NULL:
        i = (i + 1) & (core.cid_capacity - 1)
    core.cids[i].cid = value
    core.cids[i].conn = conn
    core.cids[i].path_id = path_id
    core.cids[i].sequence = sequence
    core.cid_count += 1
    return 0


cdef void cid_vacate(core_t* core, uint32_t hole) noexcept nogil:
    cdef uint32_t mask = core.cid_capacity - 1
    cdef uint32_t i = (hole + 1) & mask, home
    core.cid_count -= 1
    while core.cids[i].conn != NULL:
        home = cid_slot(core, core.cids[i].cid)
        if ((i - home) & mask) >= ((i - hole) & mask):      # its home lies at or before the hole
            core.cids[hole] = core.cids[i]
            hole = i
        i = (i + 1) & mask
    core.cids[hole].conn = NULL


cdef void cid_remove(core_t* core, const uint8_t* cid) noexcept nogil:
    cdef cid_entry_t* entry = cid_find(core, cid)
    if entry != NULL:
        cid_vacate(core, <uint32_t>(entry - core.cids))


cdef void cid_remove_all(core_t* core, conn_t* conn) noexcept nogil:
    cdef uint32_t i = 0
    while i < core.cid_capacity:
        if core.cids[i].conn == conn:
            cid_vacate(core, i)             # another entry may have moved here: look again
        else:
            i += 1


cdef inline uint32_t route_slot(const core_t* core, const uint8_t* ip) noexcept nogil:
    cdef uint64_t high, low
    memcpy(&high, ip, 8)
    memcpy(&low, ip + 8, 8)
    return <uint32_t>(((high * GOLDEN ^ low) * GOLDEN) >> 32) & (core.route_capacity - 1)


cdef conn_t* route_find(core_t* core, const uint8_t* ip) noexcept nogil:
    """The connection that an inner address (16 bytes) was assigned to, or NULL."""
    cdef uint32_t i
    if core.route_count == 0:
        return NULL
    i = route_slot(core, ip)
    while core.routes[i].conn != NULL:
        if memcmp(core.routes[i].ip, ip, 16) == 0:
            return core.routes[i].conn
        i = (i + 1) & (core.route_capacity - 1)
    return NULL


cdef int route_grow(core_t* core) noexcept nogil:
    cdef route_entry_t* old = core.routes
    cdef uint32_t capacity = core.route_capacity, i, k
    core.routes = <route_entry_t*>calloc(capacity * 2 if capacity else TABLE_FIRST, sizeof(route_entry_t))
    if core.routes == NULL:
        core.routes = old
        return -1
    core.route_capacity = capacity * 2 if capacity else TABLE_FIRST
    for k in range(capacity):
        if old[k].conn != NULL:
            i = route_slot(core, old[k].ip)
            while core.routes[i].conn != NULL:
                i = (i + 1) & (core.route_capacity - 1)
            core.routes[i] = old[k]
    free(old)
    return 0


cdef int route_add(core_t* core, const uint8_t* ip, conn_t* conn) noexcept nogil:
    """0; 1 if the address leads to another connection; -1 without memory."""
    cdef uint32_t i
    cdef conn_t* owner = route_find(core, ip)
    if owner != NULL:
        return 0 if owner == conn else 1
    if core.route_count * 2 >= core.route_capacity and route_grow(core) != 0:
        return -1
    i = route_slot(core, ip)
    while core.routes[i].conn != NULL:
        i = (i + 1) & (core.route_capacity - 1)
    memcpy(core.routes[i].ip, ip, 16)
    core.routes[i].conn = conn
    core.route_count += 1
    return 0


cdef void route_vacate(core_t* core, uint32_t hole) noexcept nogil:
    cdef uint32_t mask = core.route_capacity - 1
    cdef uint32_t i = (hole + 1) & mask, home
    core.route_count -= 1
    while core.routes[i].conn != NULL:
        home = route_slot(core, core.routes[i].ip)
        if ((i - home) & mask) >= ((i - hole) & mask):
            core.routes[hole] = core.routes[i]
            hole = i
        i = (i + 1) & mask
    core.routes[hole].conn = NULL


cdef void route_remove_all(core_t* core, conn_t* conn) noexcept nogil:
    cdef uint32_t i = 0
    while i < core.route_capacity:
        if core.routes[i].conn == conn:
            route_vacate(core, i)
        else:
            i += 1


# Connections to serve, in turn.

cdef void conn_ready(core_t* core, conn_t* conn) noexcept nogil:
    """Put the connection at the end of the list, once."""
    if conn.ready:
        return
    conn.ready = True
    conn.ready_next = NULL
    if core.ready_first == NULL:
        core.ready_first = conn
    else:
        core.ready_last.ready_next = conn
    core.ready_last = conn


cdef conn_t* conn_take(core_t* core) noexcept nogil:
    """The next connection to serve, or NULL."""
    cdef conn_t* conn = core.ready_first
    if conn != NULL:
        core.ready_first = conn.ready_next
        conn.ready = False
    return conn


cdef int conn_enlist(core_t* core, conn_t* conn, uint32_t first) noexcept nogil:
    """Give the connection a free ID, not one that was just given up: events may still name it. -1: no memory."""
    cdef uint32_t i, capacity = core.conn_capacity
    cdef conn_t** conns
    for i in range(capacity):
        if core.conns[(first + i) % capacity] == NULL:
            conn.id = (first + i) % capacity
            core.conns[conn.id] = conn
            return 0
    conns = <conn_t**>realloc(core.conns, (capacity * 2 if capacity else CONNS_FIRST) * sizeof(conn_t*))
    if conns == NULL:
        return -1
    core.conns = conns
    if deadlines_grow(&core.deadlines, capacity * 2 if capacity else CONNS_FIRST) != 0:
        return -1
    core.conn_capacity = capacity * 2 if capacity else CONNS_FIRST
    for i in range(capacity, core.conn_capacity):
        core.conns[i] = NULL
    return conn_enlist(core, conn, capacity)


cdef void conn_delist(core_t* core, conn_t* conn) noexcept nogil:
    """Free its ID: it has no deadline then, and is not among those to serve."""
    cdef conn_t* previous = NULL
    cdef conn_t* at = core.ready_first
    core.conns[conn.id] = NULL
    deadline_set(&core.deadlines, conn.id, 0.0)
    while at != NULL and at != conn:
        previous = at
        at = at.ready_next
    if at == NULL:
        return
    if previous == NULL:
        core.ready_first = conn.ready_next
    else:
        previous.ready_next = conn.ready_next
    if core.ready_last == conn:
        core.ready_last = previous


# Paths of a connection.

cdef path_t* path_find(conn_t* conn, uint32_t path_id) noexcept nogil:
    cdef int i
    for i in range(PATHS):
        if conn.paths[i] != NULL and conn.paths[i].id == path_id:
            return conn.paths[i]
    return NULL


cdef path_t* path_obtain(conn_t* conn, uint32_t path_id) noexcept nogil:
    """The path of this ID, made with a fresh packet number space if need be; NULL: no slot or memory left."""
    cdef path_t* path = path_find(conn, path_id)
    cdef int i
    if path != NULL:
        return path
    for i in range(PATHS):
        if conn.paths[i] == NULL:
            break
    else:
        return NULL
    path = <path_t*>calloc(1, sizeof(path_t))
    if path == NULL or recovery_reset(&path.sent, FIRST_SEGMENT, conn.seed ^ (path_id + 1) * GOLDEN) != 0:
        free(path)
        return NULL
    path.id = path_id
    path.mtu = FIRST_SEGMENT
    path.weight = 1.0
    ecn_reset(&path.ecn, 0)
    path.sent.peer_delay = conn.peer_ack_delay
    congestion_choose(&path.sent.cc, conn.congestion)
    conn.paths[i] = path
    return path


cdef void path_remove(conn_t* conn, uint32_t path_id) noexcept nogil:
    cdef int i
    for i in range(PATHS):
        if conn.paths[i] != NULL and conn.paths[i].id == path_id:
            recovery_clear(&conn.paths[i].sent)
            free(conn.paths[i])
            conn.paths[i] = NULL
            return


cdef prefix_t* prefixes_from_python(object prefixes) except? NULL:
    """(packed address, length) pairs as 128-bit prefixes, IPv4 mapped; NULL when there are none."""
    cdef prefix_t* out = NULL
    cdef int i
    if not prefixes:
        return NULL
    out = <prefix_t*>calloc(len(prefixes), sizeof(prefix_t))
    if out == NULL:
        raise MemoryError
    for i, (address, length) in enumerate(prefixes):
        mapped = bytes(10) + b"\xff\xff" + address if len(address) == 4 else address
        memcpy(out[i].ip, <char*><bytes>mapped, 16)
        out[i].length = length + (96 if len(address) == 4 else 0)
    return out


cdef bint conn_keys_confirmed(const conn_t* conn) noexcept nogil:
    """Whether a packet that was sent with the newest keys was acknowledged."""
    cdef const path_t* path
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path != NULL and path.sealed_generation == conn.send_generation and path.sent.acked_any and (
                path.sent.largest_acked >= path.sealed_first):
            return True
    return False


# Control frames that go elsewhere than to their path's address.

cdef int control_lead(control_t* item, int socket, object remote, object local, bytes dcid) except -1:
    """Where to; local: None for the kernel's choice."""
    endpoint_from_python(&item.remote, remote)
    endpoint_from_python(&item.local, local or ("::", 0))
    item.socket, item.dcid_length, item.elsewhere = <uint8_t>socket, <uint8_t>min(len(dcid), 20), True
    memcpy(item.dcid, <char*>dcid, item.dcid_length)
    return 0


cdef void control_turn(path_t* path, control_t* item) noexcept nogil:
    """Exchange where the path leads and where the item does."""
    cdef uint8_t dcid[20]
    path.remote, item.remote = item.remote, path.remote
    path.local, item.local = item.local, path.local
    path.socket, item.socket = item.socket, path.socket
    memcpy(dcid, path.dcid, sizeof(dcid))
    memcpy(path.dcid, item.dcid, sizeof(dcid))
    memcpy(item.dcid, dcid, sizeof(dcid))
    path.dcid_length, item.dcid_length = item.dcid_length, path.dcid_length


cdef void control_clear(conn_t* conn) noexcept nogil:
    """Forget what was not sent."""
    cdef control_t* item
    while conn.control_head != NULL:
        item = conn.control_head
        conn.control_head = item.next
        free(item)
