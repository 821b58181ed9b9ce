# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""UDP flows put in order by stamps: the extension `mqvpn-reorder: v1` of the C mqvpn.

Where both ends have it, and not the better one of resequence.pyx, the packets of UDP flows that [Reorder] and its
rules choose travel as `01 | flags (8 bit) | sequence number (48 bit) | IP packet` behind Context ID 0. The numbers
are of one flow (addresses and ports) in one direction and begin at 0; FLOW_RESET marks the first RESET_MARKS of them.
Fragments, and all other packets, travel as they are. So a flow's receiver needs no number of it on the wire, and its
sender may put each packet on the path where it arrives first (schedule.pyx).

The sender's numbers stand with the flow in its queue (flowtable.pyx), which forgets it after a minute without packets:
a receiver that remembers it for longer still takes the new numbers, since there was no progress for STALLED. Flows that
have to share an entry there, the table being full, are not stamped any more.

The receiver puts flows into the lanes of resequence.pyx, found by a hash; a flow that finds no lane free passes as it
comes, as do packets whose gap was given up. Flows of small packets alone, such as acknowledgements, wait for nothing.
"""
from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from mqvpn.dataplane.flow cimport NEVER, STAMPED
from mqvpn.dataplane.flowtable cimport flow_key
from mqvpn.dataplane.headers cimport PROTOCOL_UDP, headers_read, headers_t, load16, load32
from mqvpn.dataplane.inner cimport packet_allowed, packet_deliver
from mqvpn.dataplane.lanes cimport WINDOW, lane_begin, lanes_make
from mqvpn.dataplane.resequence cimport lane_take
from mqvpn.dataplane.state cimport DROP_TOO_SHORT, LANES, RULES, lane_t, rule_t, rules_t
from mqvpn.dataplane.tidy cimport tidy_later

cdef enum:
    PROBES = 8                      # lanes that a flow may be in
    JUDGED = 64                     # packets of a flow after which it is known to be one of small packets:
    SMALL = 200                     # all but FEW_LARGE have less bytes than this
    FEW_LARGE = 3

cdef uint64_t FIRST = <uint64_t>1 << 32     # what number 0 is in a lane: nothing falls below zero
cdef double STALLED = 10.0          # seconds without progress after which a flow may begin anew
cdef double UNUSED = 1.0            # seconds after which another flow may have a lane that holds nothing


cdef int stamps_load(conn_t* conn, object rules) except -1:
    """Use the extension by these rules: of each the port, longest wait and packets ahead. Empty: not at all."""
    cdef rules_t* loaded = NULL
    cdef uint32_t i
    if len(rules) > RULES:
        raise ValueError(f"there may be {RULES} rules")
    if rules:
        loaded = <rules_t*>calloc(1, sizeof(rules_t))
        if loaded == NULL:
            raise MemoryError
        loaded.count = <uint32_t>len(rules)
        try:
            for i, (port, most, window) in enumerate(rules):
                loaded.items[i].port, loaded.items[i].most = port, most
                loaded.items[i].window = min(window, WINDOW)
        except BaseException:
            free(loaded)
            raise
    free(conn.stamps)
    conn.stamps = loaded
    return 0


cdef const rule_t* rule_of(const rules_t* rules, const uint8_t* p, uint32_t length) noexcept nogil:
    """The rule that has this packet's flow stamped; NULL: none."""
    cdef headers_t headers
    cdef uint16_t source, destination
    cdef uint32_t i
    if not headers_read(p, length, &headers) or headers.fragment or headers.protocol != PROTOCOL_UDP:
        return NULL
    if headers.length == headers.ip_length:         # not even its ports are there
        return NULL
    source, destination = load16(p + headers.ip_length), load16(p + headers.ip_length + 2)
    for i in range(rules.count):
        if rules.items[i].port in (0, source, destination):
            return &rules.items[i] if rules.items[i].window else NULL
    return NULL


cdef void stamps_judge(const conn_t* conn, flow_t* flow) noexcept nogil:
    """Whether this flow, which has packets and whose peer has the extension, is stamped: once, for all of them."""
    flow.stamps = STAMPED if rule_of(conn.stamps, flow.head.data, flow.head.length) != NULL else NEVER


cdef lane_t* find(conn_t* conn, uint64_t flow, double now) noexcept nogil:
    """The flow's lane, or one that it may have; NULL: others use all those."""
    cdef lane_t* lane
    cdef lane_t* found = NULL
    cdef uint64_t i
    for i in range(PROBES):
        lane = &conn.lanes[(flow + i) % LANES]
        if lane.ring != NULL and lane.flow == flow:
            return lane
        if lane.ring != NULL and (lane.held or now - lane.used_at < UNUSED):
            continue
        if found == NULL or lane.used_at < found.used_at:
            found = lane
    return found


cdef inline bint begins(const lane_t* lane, uint64_t flow, uint64_t number, uint8_t flags, double now) noexcept nogil:
    """The flow is new, or it is another one between the same ports."""
    if lane.ring == NULL or lane.flow != flow:
        return True
    return now - lane.moved_at > STALLED and (flags & FLOW_RESET or number < lane.expected)


cdef void classify(conn_t* conn, lane_t* lane, uint32_t length) noexcept nogil:
    lane.packets += 1
    lane.large += length >= SMALL
    if lane.packets == JUDGED and lane.large <= FEW_LARGE:
        lane.most = 0.0
        conn.order.demoted += 1


cdef void stamp_received(core_t* core, conn_t* conn, int slot, const uint8_t* data, uint32_t length, sink_t* sink,
                         double now) noexcept nogil:
    """A stamp and what stands behind it, from the path in that slot."""
    cdef const uint8_t* packet = data + STAMP_BYTES
    cdef const rule_t* rule
    cdef lane_t* lane
    cdef uint64_t number, flow, expected
    if length <= STAMP_BYTES:
        core.drops[DROP_TOO_SHORT] += 1
        return
    length -= STAMP_BYTES
    if not packet_allowed(core, conn, packet, length, now):
        return
    conn.numbered_at[slot] = now
    conn.order.numbered += 1
    tidy_later(conn, now)
    number = FIRST + (<uint64_t>load16(data + 2) << 32 | load32(data + 4))
    flow = flow_key(packet, length)
    lane = find(conn, flow, now) if lanes_make(conn) else NULL
    if lane != NULL and begins(lane, flow, number, data[1], now):
        rule = rule_of(conn.stamps, packet, length)
        if rule != NULL and lane_begin(conn, lane, flow, number):
            lane.window, lane.most, lane.moved_at = rule.window, rule.most, now
        else:
            lane = NULL
    if lane == NULL or number + WINDOW <= lane.end:     # in no lane, or too late to tell whether it came before
        packet_deliver(core, conn, packet, length, sink)
        return
    classify(conn, lane, length)
    expected = lane.expected
    lane_take(core, conn, lane, slot, number, packet, length, sink, now)
    if lane.expected != expected:
        lane.moved_at = now
