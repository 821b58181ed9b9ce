# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Flows that use several paths at once, put back in order; and packets that come twice.

Between two ends that both have it (negotiated by a header of the request), the packets of a spread flow travel in
HTTP datagrams of Context ID 2: `context 2 | flow (16 bit) | sequence number (32 bit) | IP packet`. So do all others
while several paths are there, as flow 0: they pass at once, in whatever order they come, but only once each, so that
packets may be sent twice (reinject.pyx, the scheduler `redundant`).

Each flow has a lane (lanes.pyx), which holds what came too early. A gap is given up when every path in use has
delivered a later number (each path keeps its order, so the missing packet is lost), or when our patience ends. Packets
that come after their gap was given up still pass. Memory is bounded by LANES, WINDOW and HELD_BYTES (held.pyx); what
finds no room passes out of order. Of the list that is written to the TUN at once, half is for packets that waited: the
other half takes all that one turn reads. The flows of stamps.pyx use the same lanes.
"""
from collections import namedtuple

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from mqvpn.dataplane.headers cimport load16, load32
from mqvpn.dataplane.held cimport held_new, memory_of
from mqvpn.dataplane.inner cimport packet_allowed, packet_deliver
from mqvpn.dataplane.lanes cimport WINDOW, lane_of, lanes_clear, lanes_shrink
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.state cimport DROP_DUPLICATE, DROP_TOO_SHORT, LANES, WAITS, lane_t, order_t
from mqvpn.dataplane.tidy cimport tidy_later

cdef enum:
    PASSED = 65536                  # numbers of flows that are not spread, within which one is known to be a duplicate

OrderStats = namedtuple("OrderStats", (
    "numbered waited waiting late duplicates no_room discarded filled lost expired overrun demoted longest waits"))

cdef double WAIT_LEAST = 0.010      # how long a gap is waited for: the paths' RTTs may differ by this and more
cdef double LAG_MARGIN = 1.25
cdef double LAG_KEPT = 10.0         # what was learnt of late packets is believed so long
cdef double IN_USE = 0.250          # a path that delivered no numbered packet for so long no longer counts
cdef double FORGOTTEN = 10.0        # seconds without numbered packets after which none can come twice


cdef inline bint was_seen(const lane_t* lane, uint64_t number) noexcept nogil:
    return (lane.seen[(number & (WINDOW - 1)) >> 6] >> (number & 63)) & 1


cdef inline void mark(lane_t* lane, uint64_t number, bint seen) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (number & 63)
    if seen:
        lane.seen[(number & (WINDOW - 1)) >> 6] |= bit
    else:
        lane.seen[(number & (WINDOW - 1)) >> 6] &= ~bit


cdef void extend(lane_t* lane, uint64_t number) noexcept nogil:
    """Numbers up to this one belong to the window now: none of the new ones was seen."""
    while lane.end <= number:
        mark(lane, lane.end, False)
        lane.end += 1


cdef void step(core_t* core, conn_t* conn, lane_t* lane, sink_t* sink) noexcept nogil:
    """Go one number on, delivering what is held for it."""
    cdef packet_t* packet = lane.ring[lane.expected & (WINDOW - 1)]
    lane.expected += 1
    if packet == NULL:
        return
    lane.ring[(lane.expected - 1) & (WINDOW - 1)] = NULL
    lane.held -= 1
    conn.held -= 1
    conn.held_bytes -= memory_of(packet.length)
    packet_deliver(core, conn, packet.data, packet.length, sink)
    packet.next = core.released                 # the sink points into it until it was written
    core.released = packet


cdef inline bint takes_waiting(const sink_t* sink) noexcept nogil:
    return sink.count[0] < sink.capacity // 2


cdef bint is_lost(const conn_t* conn, const lane_t* lane, double now) noexcept nogil:
    """Every path in use, be it by other flows, has delivered a number behind the gap."""
    cdef int i
    for i in range(PATHS):
        if conn.numbered_at[i] != 0.0 and now - conn.numbered_at[i] < IN_USE and lane.path_number[i] < lane.expected:
            return False
    return True


cdef void gap_over(conn_t* conn, const lane_t* lane, uint64_t* how, double now) noexcept nogil:
    """Count a gap that ended, and how long packets waited for it."""
    cdef double waited = now - lane.gap_at if lane.waiting != 0.0 else 0.0
    cdef double limit = 0.001
    cdef int i = 0
    how[0] += 1
    if waited > conn.order.longest:
        conn.order.longest = waited
    while i < WAITS - 1 and waited >= limit:
        limit *= 2
        i += 1
    conn.order.waits[i] += 1


cdef void advance(core_t* core, conn_t* conn, lane_t* lane, sink_t* sink, double now) noexcept nogil:
    """Deliver all that is in order, and give up gaps that nothing can fill or that took too long. What the sink has no
    room for stays until the next batch or timeout."""
    while lane.held and takes_waiting(sink):
        if lane.ring[lane.expected & (WINDOW - 1)] == NULL and was_seen(lane, lane.expected):   # it found no room
            lane.expected += 1
            lane.waiting = 0.0
            continue
        if lane.ring[lane.expected & (WINDOW - 1)] == NULL and not is_lost(conn, lane, now) and (
                lane.waiting == 0.0 or now < lane.waiting):
            break
        if lane.ring[lane.expected & (WINDOW - 1)] == NULL:
            lane.lost_from = lane.expected
            lane.lost_at = lane.gap_at if lane.waiting != 0.0 and now >= lane.waiting else 0.0
            gap_over(conn, lane, &conn.order.expired if lane.lost_at != 0.0 else &conn.order.lost, now)
            while lane.ring[lane.expected & (WINDOW - 1)] == NULL:
                lane.expected += 1
        lane.waiting = 0.0
        step(core, conn, lane, sink)
    if lane.held == 0:
        lane.waiting = 0.0
    elif not takes_waiting(sink):
        lane.waiting = now
    elif lane.waiting == 0.0:
        lane.gap_at = now
        lane.waiting = now + patience(conn, lane, now)


cdef void learn(conn_t* conn, const lane_t* lane, uint64_t number, double now) noexcept nogil:
    """A packet fills a gap, or would have filled one that we had no patience for: so late do packets come. Queues on
    the way to us are in no RTT that we know."""
    cdef double lag = 0.0
    if number == lane.expected and lane.waiting != 0.0:
        gap_over(conn, lane, &conn.order.filled, now)
        lag = LAG_MARGIN * (now - lane.gap_at)
    elif number < lane.expected and number >= lane.lost_from and lane.lost_at != 0.0:
        lag = LAG_MARGIN * (now - lane.lost_at)
    if lag > conn.lag or now - conn.lag_at > LAG_KEPT:
        conn.lag, conn.lag_at = lag, now
    elif 2 * lag > conn.lag:
        conn.lag_at = now


cdef double patience(const conn_t* conn, const lane_t* lane, double now) noexcept nogil:
    """How long to wait for a gap: as much as the RTTs of the paths differ, and some; longer if packets come later."""
    cdef double low = 1e30, high = 0.0, rtt
    cdef int i
    for i in range(PATHS):
        if conn.paths[i] != NULL and conn.paths[i].usable and conn.paths[i].sent.srtt > 0.0:
            rtt = conn.paths[i].sent.srtt
            low = rtt if rtt < low else low
            high = rtt if rtt > high else high
    high = high - low + WAIT_LEAST if high > 0.0 else WAIT_LEAST
    if high < conn.lag and now - conn.lag_at < LAG_KEPT:
        high = conn.lag
    return high if high < lane.most else lane.most


cdef bint hold(conn_t* conn, lane_t* lane, uint64_t number, const uint8_t* data, uint32_t length) noexcept nogil:
    """Keep a packet until its turn comes. False: there is no room."""
    cdef packet_t* packet = held_new(conn, length)
    if packet == NULL:
        conn.order.no_room += 1
        return False
    conn.order.waited += 1
    memcpy(packet.data, data, length)
    lane.ring[number & (WINDOW - 1)] = packet
    lane.held += 1
    conn.held += 1
    conn.held_bytes += memory_of(length)
    return True


cdef bint make_room(core_t* core, conn_t* conn, lane_t* lane, uint64_t number, sink_t* sink,
                    double now) noexcept nogil:
    """Go on until the number fits into the window; where that is nothing but a gap, at once. False: it does not fit
    before the sink was written."""
    if lane.held and not takes_waiting(sink):
        return False
    gap_over(conn, lane, &conn.order.overrun, now)
    while lane.held and takes_waiting(sink) and lane.expected + lane.window <= number:
        step(core, conn, lane, sink)
    if lane.held and lane.expected + lane.window <= number:
        return False
    if lane.expected + lane.window <= number:
        lane.expected = number - lane.window + 1
        if lane.end + 2 * WINDOW < number:      # nothing of the old window is left
            memset(lane.seen, 0, WINDOW // 8)
            lane.end = number
    return True


cdef bint passes(conn_t* conn, uint32_t sequence) noexcept nogil:
    """Whether this packet of flow 0 came for the first time; what is too old to tell did not."""
    cdef uint64_t number, bit
    if conn.passed == NULL:
        conn.passed = <uint64_t*>calloc(PASSED // 64, sizeof(uint64_t))
        if conn.passed == NULL:
            return True
        conn.passed_end = (<uint64_t>1 << 32) + sequence
    number = conn.passed_end + <int64_t>(<int32_t>(sequence - <uint32_t>conn.passed_end))
    if number + PASSED <= conn.passed_end:
        return False
    if number >= conn.passed_end + PASSED:
        memset(conn.passed, 0, PASSED // 8)
        conn.passed_end = number
    while conn.passed_end <= number:
        conn.passed[(conn.passed_end & (PASSED - 1)) >> 6] &= ~(<uint64_t>1 << (conn.passed_end & 63))
        conn.passed_end += 1
    bit = <uint64_t>1 << (number & 63)
    if conn.passed[(number & (PASSED - 1)) >> 6] & bit:
        return False
    conn.passed[(number & (PASSED - 1)) >> 6] |= bit
    return True


cdef void spread_received(core_t* core, conn_t* conn, int slot, const uint8_t* data, uint32_t length, sink_t* sink,
                          double now) noexcept nogil:
    """What stands behind Context ID 2, from the path in that slot."""
    cdef lane_t* lane
    cdef uint32_t sequence
    cdef uint64_t number
    if length <= SPREAD_BYTES:
        core.drops[DROP_TOO_SHORT] += 1
        return
    sequence = load32(data + 2)
    if not packet_allowed(core, conn, data + SPREAD_BYTES, length - SPREAD_BYTES, now):
        return
    conn.numbered_at[slot] = now
    conn.order.numbered += 1
    tidy_later(conn, now)
    if load16(data) == 0:
        if passes(conn, sequence):
            packet_deliver(core, conn, data + SPREAD_BYTES, length - SPREAD_BYTES, sink)
        else:
            core.drops[DROP_DUPLICATE] += 1
            conn.order.duplicates += 1
        return
    lane = lane_of(conn, load16(data), sequence, now)
    if lane == NULL:
        packet_deliver(core, conn, data + SPREAD_BYTES, length - SPREAD_BYTES, sink)
        return
    number = lane.expected + <int64_t>(<int32_t>(sequence - <uint32_t>lane.expected))
    lane_take(core, conn, lane, slot, number, data + SPREAD_BYTES, length - SPREAD_BYTES, sink, now)


cdef void lane_take(core_t* core, conn_t* conn, lane_t* lane, int slot, uint64_t number, const uint8_t* data,
                    uint32_t length, sink_t* sink, double now) noexcept nogil:
    """The IP packet of that number came on the path in that slot: deliver all that is in order now, or hold it."""
    lane.used_at = now
    if number > lane.path_number[slot]:
        lane.path_number[slot] = number
    if number + WINDOW <= lane.end or (number < lane.end and was_seen(lane, number)):
        core.drops[DROP_DUPLICATE] += 1
        conn.order.duplicates += 1
        return
    # What is too far ahead ends the wait of all that is there, and passes them if they are too many to be written now.
    if number >= lane.expected + lane.window and not make_room(core, conn, lane, number, sink, now):
        lane.waiting = now
        conn.order.no_room += 1
        packet_deliver(core, conn, data, length, sink)
        return
    learn(conn, lane, number, now)
    extend(lane, number)
    mark(lane, number, True)
    if number <= lane.expected:
        if number == lane.expected:
            lane.expected += 1
        else:
            conn.order.late += 1
        packet_deliver(core, conn, data, length, sink)
    elif not hold(conn, lane, number, data, length):
        packet_deliver(core, conn, data, length, sink)
    advance(core, conn, lane, sink, now)


cdef double spread_deadline(const conn_t* conn) noexcept nogil:
    """When the first gap is given up; 0.0: nothing is held."""
    cdef double first = 0.0
    cdef int i
    if conn.lanes == NULL:
        return 0.0
    for i in range(LANES):
        if conn.lanes[i].waiting != 0.0 and (first == 0.0 or conn.lanes[i].waiting < first):
            first = conn.lanes[i].waiting
    return first


cdef void spread_timeout(core_t* core, conn_t* conn, sink_t* sink, double now) noexcept nogil:
    """Give up the gaps that are due."""
    cdef int i
    if conn.lanes == NULL:
        return
    for i in range(LANES):
        if conn.lanes[i].waiting != 0.0 and conn.lanes[i].waiting <= now:
            advance(core, conn, &conn.lanes[i], sink, now)


cdef bint spread_shrink(conn_t* conn, double now) noexcept nogil:
    """Give back what flows that use several paths no longer need; whether some is left."""
    cdef bint left = lanes_shrink(conn, now)
    cdef int i
    if conn.passed == NULL:
        return left
    for i in range(PATHS):
        if now - conn.numbered_at[i] < FORGOTTEN:
            return True
    free(conn.passed)
    conn.passed = NULL
    return left


cdef void spread_clear(conn_t* conn) noexcept nogil:
    """Forget what the connection knows of flows that use several paths."""
    free(conn.stamps)
    conn.stamps = NULL
    free(conn.passed)
    conn.passed = NULL
    lanes_clear(conn)


cdef object order_figures(const conn_t* conn):
    """What Connection.order() returns."""
    cdef const order_t* o = &conn.order
    cdef int i
    return OrderStats(
        o.numbered, o.waited, conn.held, o.late, o.duplicates, o.no_room, o.discarded, o.filled, o.lost, o.expired,
        o.overrun, o.demoted, o.longest, tuple([o.waits[i] for i in range(WAITS)]))
