# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which flow has which lane: the memory of what came of it and what is held (resequence.pyx, stamps.pyx).

A spread flow's number leads to the lane of its low bits; its sender lets no two flows use a lane at a time.
"""
from libc.stdint cimport int16_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from mqvpn.dataplane.held cimport held_free, memory_of
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.state cimport LANES

cdef double WAIT_MOST = 0.200       # the longest wait for a gap
cdef double IDLE = 10.0             # a lane that was not used for so long is given back
cdef double YOUNG = 5.0             # so long a lane's new flow is known as such: at most LANES begin in a second


cdef bint lanes_make(conn_t* conn) noexcept nogil:
    """Have the lanes, none of which is a flow's yet. False: no memory."""
    if conn.lanes == NULL:
        conn.lanes = <lane_t*>calloc(LANES, sizeof(lane_t))
    return conn.lanes != NULL


cdef bint lane_begin(conn_t* conn, lane_t* lane, uint64_t flow, uint64_t expected) noexcept nogil:
    """Give the lane to a flow whose next number that is; what it holds of another's is lost. False: no memory."""
    cdef packet_t** ring = lane.ring
    cdef uint64_t* seen = lane.seen
    if ring == NULL or lane.held:   # else the ring is empty: flows that take each other's lane in turn cost little
        lane_clear(conn, lane)
        ring = <packet_t**>calloc(WINDOW, sizeof(packet_t*))
        seen = <uint64_t*>malloc(WINDOW // 8)
        if ring == NULL or seen == NULL:
            free(ring)
            free(seen)
            return False
    memset(lane, 0, sizeof(lane_t))
    memset(seen, 0, WINDOW // 8)
    lane.ring, lane.seen = ring, seen
    lane.flow = flow
    lane.expected = lane.end = expected
    lane.window, lane.most = WINDOW, WAIT_MOST
    return True


cdef lane_t* lane_of(conn_t* conn, uint16_t flow, uint32_t sequence, double now) noexcept nogil:
    """The lane of a spread flow, made or taken over if need be; NULL: no memory, or another flow has it by now."""
    cdef lane_t* lane
    cdef uint16_t former
    if not lanes_make(conn):
        conn.order.no_room += 1
        return NULL
    lane = &conn.lanes[flow % LANES]
    if lane.ring != NULL and lane.flow == flow:
        return lane
    if is_former(lane, flow, now):
        conn.order.late += 1
        return NULL
    former = <uint16_t>lane.flow
    # Flows begin at 0; one that we meet late begins where we meet it.
    if not lane_begin(conn, lane, flow, (<uint64_t>1 << 32) + (sequence if sequence >= WINDOW else 0)):
        conn.order.no_room += 1
        return NULL
    lane.former, lane.begun_at = former, now
    return lane


cdef bint is_former(const lane_t* lane, uint16_t flow, double now) noexcept nogil:
    """Whether that flow had the lane before the one that has it. Of numbers that began within YOUNG the order is known;
    the former one may have begun long before."""
    if lane.ring == NULL or now - lane.begun_at > YOUNG:
        return False
    return flow == lane.former or <int16_t>(flow - <uint16_t>lane.flow) < 0


cdef void lane_clear(conn_t* conn, lane_t* lane) noexcept nogil:
    cdef uint32_t i
    if lane.held:
        for i in range(WINDOW):
            if lane.ring[i] != NULL:
                conn.held_bytes -= memory_of(lane.ring[i].length)
                held_free(lane.ring[i])
    conn.held -= lane.held
    conn.order.discarded += lane.held
    free(lane.ring)
    free(lane.seen)
    memset(lane, 0, sizeof(lane_t))


cdef bint lanes_shrink(conn_t* conn, double now) noexcept nogil:
    """Give back lanes that nobody uses; whether some are left."""
    cdef bint left = False
    cdef int i
    if conn.lanes == NULL:
        return False
    for i in range(LANES):
        if conn.lanes[i].ring != NULL and now - conn.lanes[i].used_at > IDLE:
            lane_clear(conn, &conn.lanes[i])
        left = left or conn.lanes[i].ring != NULL
    if not left:
        lanes_clear(conn)
    return left


cdef void lanes_clear(conn_t* conn) noexcept nogil:
    """Give back all lanes; what they hold is lost."""
    cdef int i
    if conn.lanes == NULL:
        return
    for i in range(LANES):
        lane_clear(conn, &conn.lanes[i])
    free(conn.lanes)
    conn.lanes = NULL
