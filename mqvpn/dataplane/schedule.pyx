# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Schedulers: which path carries a flow's next burst.

`minrtt`: the path with the lowest smoothed RTT that has room; it spills over when that one is full.
`wlb`: flows are spread over the paths in proportion to what each path delivers, and stay where they are while their
packets are in flight, so that one flow is not reordered. A flow may move when it paused longer than the paths' RTTs
differ (a flowlet gap), when its path is no longer fit, or when another path would give it clearly more.
`wlb_udp_pin`: the same, but a UDP flow is moved at gaps only, and never uses several paths at once.
`redundant`: each packet on every path that has room; it needs an end that drops what comes twice, else it is minrtt.
A suspect path gets copies, too: it may only have been late, while the other one loses packets.

Backup paths are used only when no primary works, suspect and narrow ones only when nothing else is there.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport congestion_capacity, congestion_unexplored, pacing_room
from mqvpn.dataplane.flow cimport STAMPED
from mqvpn.dataplane.headers cimport PROTOCOL_UDP
from mqvpn.dataplane.state cimport ANY, LANES, PATHS, REDUNDANT, WLB, WLB_UDP_PIN, conn_t, path_t

cdef double LOAD_STEP = 0.1         # the load of the paths is counted anew this often, seconds
cdef double ACTIVE = 0.5            # a flow that sent within this time counts
cdef double STAY = 0.3              # a flow that cannot pause is looked at again this often
cdef double BETTER = 1.5            # how much more another path must give before such a flow moves
cdef double FLOWLET = 0.010         # shortest pause that counts as a gap
cdef double WHOLE = 0.02             # share of all paths' capacity that makes a flow count as a whole one
cdef double PATIENCE = 0.003        # a packet that waited so long for its own path, or a better one, takes another
cdef double PAUSE = 1.0             # that ends a spread flow: nothing of it is on the way any more
cdef double FOREVER = 1e30


cdef int64_t path_room(const conn_t* conn, path_t* path, double now) noexcept nogil:
    """Bytes that congestion control and pacing let the path take now, and of an address that is not validated the
    anti-amplification limit (RFC 9000, sections 8.1 and 9.3)."""
    cdef int64_t room = pacing_room(&path.sent.cc, path.sent.in_flight, now), allowed
    if path.validated or conn.is_client:
        return room
    allowed = <int64_t>(3 * path.address_received) - <int64_t>path.address_sent
    return allowed if allowed < room else room


cdef inline int rank(const path_t* path) noexcept nogil:
    """0: primary, 1: backup, 2: suspect or narrow; -1: carries no IP packets."""
    if path == NULL or not path.usable or path.abandoned or not path.opened:
        return -1
    if path.suspect or path.narrow:
        return 2
    return 1 if path.backup else 0


cdef void choices_make(conn_t* conn, choice_t* choice, double now) noexcept nogil:
    """The paths of the best rank there is, with their room."""
    cdef int i, r, usable, best = 3
    for i in range(PATHS):
        r = rank(conn.paths[i])
        if 0 <= r < best:
            best = r
    choice.count = usable = 0
    for i in range(PATHS):
        r = rank(conn.paths[i])
        usable += r >= 0
        choice.room[i] = path_room(conn, conn.paths[i], now) if r >= 0 else 0
        if best < 3 and r == best:
            choice.slots[choice.count] = i
            choice.count += 1
    choice.failing = best == 2
    conn.decide_at = 0.0
    conn.several = conn.spread and usable > 1


cdef inline double rtt_of(const path_t* path) noexcept nogil:
    return path.sent.srtt if path.sent.srtt > 0.0 else 0.1


cdef inline double capacity_of(const path_t* path) noexcept nogil:
    return congestion_capacity(&path.sent.cc, rtt_of(path), path.sent.rate)


cdef int lowest_rtt(conn_t* conn, const choice_t* choice) noexcept nogil:
    cdef int k, best = ANY
    for k in range(choice.count):
        if choice.room[choice.slots[k]] > 0 and (
                best == ANY or rtt_of(conn.paths[choice.slots[k]]) < rtt_of(conn.paths[best])):
            best = choice.slots[k]
    return best


cdef inline double delay_of(const path_t* path) noexcept nogil:
    """Seconds until a packet that leaves now is there: behind all in flight, which the last RTT may not show yet."""
    cdef double least = path.sent.min_rtt if path.sent.min_rtt > 0.0 else rtt_of(path)
    cdef double capacity = capacity_of(path)
    cdef double queued = path.sent.in_flight / capacity if capacity > 0.0 else 0.0
    return (queued if queued > least else least) - least / 2


cdef inline double wait_of(const path_t* path, uint64_t waiting, double now) noexcept nogil:
    """Seconds until a path without room has taken all that waits."""
    cdef double excess = <double>path.sent.in_flight + waiting + path.mtu - path.sent.cc.cwnd, pace
    cdef double capacity = capacity_of(path)
    pace = path.sent.cc.pace - now + waiting / path.sent.cc.rate if path.sent.cc.rate != 0.0 else 0.0
    excess = excess / capacity if excess > 0.0 and capacity > 0.0 else 0.0
    return excess if excess > pace else pace


cdef int earliest(conn_t* conn, const choice_t* choice) noexcept nogil:
    """The path with room over which a packet would arrive first."""
    cdef double delay, least = FOREVER
    cdef int k, best = ANY
    for k in range(choice.count):
        if choice.room[choice.slots[k]] > 0:
            delay = delay_of(conn.paths[choice.slots[k]])
            if delay < least:
                best, least = choice.slots[k], delay
    return best


cdef bint worth_waiting(conn_t* conn, const flow_t* flow, const choice_t* choice, int slot, double now) noexcept nogil:
    """Whether all that waits of the flow would be there sooner over a path that has no room yet than the next packet
    over this one, which has (as ECF decides: Lim et al., CoNEXT 2017)."""
    cdef double delay = delay_of(conn.paths[slot])
    cdef const path_t* path
    cdef int k
    for k in range(choice.count):
        path = conn.paths[choice.slots[k]]
        if choice.room[choice.slots[k]] <= 0 and delay_of(path) + wait_of(path, flow.bytes, now) < delay:
            return True
    return False


cdef inline double weight_of(const conn_t* conn, const flow_t* flow) noexcept nogil:
    """How much of a bulk flow this is, 0 to 1. One whose rate is not known yet counts whole: many that start at once
    must not pile up on one path."""
    cdef double weight
    if flow.rate == 0.0:
        return 1.0
    weight = flow.rate / (WHOLE * conn.capacity)
    return 1.0 if weight > 1.0 else weight


cdef void count_load(conn_t* conn, const choice_t* choice, double now) noexcept nogil:
    cdef uint32_t i
    cdef int k
    cdef flow_t* flow
    conn.load_at = now
    conn.capacity = 0.0
    for k in range(choice.count):
        conn.capacity += capacity_of(conn.paths[choice.slots[k]])
    for k in range(PATHS):
        conn.load[k] = 0.0
    for i in range(conn.queue.bucket_count):
        flow = conn.queue.buckets[i]
        while flow != NULL:
            if flow.slot >= 0 and now - flow.last_sent < ACTIVE:
                conn.load[flow.slot] += weight_of(conn, flow)
            flow = flow.chain


cdef double best_capacity(conn_t* conn, const choice_t* choice) noexcept nogil:
    """Of the paths in use; a path that nobody tried yet is taken to be as good."""
    cdef double capacity, best = 0.0
    cdef int k
    for k in range(choice.count):
        capacity = capacity_of(conn.paths[choice.slots[k]])
        best = capacity if capacity > best else best
    return best


cdef int pick(conn_t* conn, flow_t* flow, const choice_t* choice, double factor) noexcept nogil:
    """The path that would give this flow most; its own one wins unless another gives `factor` times more."""
    cdef int k, slot, best = ANY
    cdef double share, most = 0.0, others, promise, weight = weight_of(conn, flow)
    weight = 0.01 if weight < 0.01 else weight
    promise = best_capacity(conn, choice)
    for k in range(choice.count):
        slot = choice.slots[k]
        others = conn.load[slot] - (weight if slot == flow.slot else 0.0)
        share = promise if congestion_unexplored(&conn.paths[slot].sent.cc) else capacity_of(conn.paths[slot])
        share *= conn.paths[slot].weight
        share /= weight + (others if others > 0.0 else 0.0)
        if slot == flow.slot:
            share *= factor
        if share > most:
            most = share
            best = slot
    return best


cdef double gap_of(conn_t* conn, const choice_t* choice) noexcept nogil:
    """A pause longer than the paths' RTTs differ: what follows cannot overtake what went before."""
    cdef double low = FOREVER, high = 0.0, rtt
    cdef int k
    for k in range(choice.count):
        rtt = rtt_of(conn.paths[choice.slots[k]])
        low = rtt if rtt < low else low
        high = rtt if rtt > high else high
    return high - low if high - low > FLOWLET else FLOWLET


cdef void begin_spread(conn_t* conn, flow_t* flow, const choice_t* choice, double now) noexcept nogil:
    """Give the flow a number whose lane at the receiver is free; while none is, it keeps to one path. Lane 0 is that of
    the flows that are not spread."""
    cdef int lane
    if flow.spread:
        return
    if flow.stamps == STAMPED:          # the receiver knows it by its addresses, and all its packets are numbered
        flow.spread = True
        flow.settled = now
        return
    for lane in range(1, LANES):
        if conn.spread_at[lane] == 0.0 or now - conn.spread_at[lane] > PAUSE:
            conn.next_flow += LANES
            conn.spread_at[lane] = now
            flow.spread = True
            flow.number = <uint16_t>((conn.next_flow & ~(LANES - 1)) | lane)
            flow.sequence = 0
            flow.settled = now + gap_of(conn, choice)
            return


cdef inline bint among(const choice_t* choice, int slot) noexcept nogil:
    cdef int k
    for k in range(choice.count):
        if choice.slots[k] == slot:
            return True
    return False


cdef bint takes_copies(const conn_t* conn, const choice_t* choice, int slot) noexcept nogil:
    """Whether the path is one of those that carry every packet, by `redundant`."""
    cdef const path_t* path = conn.paths[slot]
    return among(choice, slot) or (rank(path) == 2 and path.suspect and not path.narrow and not path.backup)


cdef int copies_of(const conn_t* conn, const choice_t* choice) noexcept nogil:
    """How many paths carry every packet, by `redundant`; 0: another scheduler is at work."""
    cdef int slot, count = 0
    if conn.scheduler != REDUNDANT or not conn.several:
        return 0
    for slot in range(PATHS):
        count += takes_copies(conn, choice, slot)
    return count


cdef int spread(conn_t* conn, flow_t* flow, const choice_t* choice, double now) noexcept nogil:
    """A flow that waits although another path has room uses several at once, where the peer puts it back in order: each
    packet the one over which it arrives first. A flow that goes on waiting needs them all."""
    cdef int slot
    cdef bint late = now >= flow.head.arrived + PATIENCE
    if not conn.spread and flow.stamps != STAMPED:
        return ANY
    slot = earliest(conn, choice)
    if not flow.spread and late and slot != ANY:
        begin_spread(conn, flow, choice, now)
    if not late and slot != ANY and (conn.decide_at == 0.0 or flow.head.arrived + PATIENCE < conn.decide_at):
        conn.decide_at = flow.head.arrived + PATIENCE
    if not flow.spread:
        return ANY
    if now < flow.settled and among(choice, flow.slot):
        return flow.slot if choice.room[flow.slot] > 0 else ANY
    return slot if slot != ANY and (late or not worth_waiting(conn, flow, choice, slot, now)) else ANY


cdef int choose_wlb(conn_t* conn, flow_t* flow, choice_t* choice, double now) noexcept nogil:
    cdef int slot
    cdef bint fit = among(choice, flow.slot)
    cdef bint pinned = conn.scheduler == WLB_UDP_PIN and flow.head.protocol == PROTOCOL_UDP
    cdef double factor = 1.0
    if flow.spread:
        return spread(conn, flow, choice, now)
    if fit and choice.count > 1:
        if now - flow.last_sent > gap_of(conn, choice):
            factor = 1.1
        elif now - flow.placed > STAY and not pinned:
            factor = BETTER
        elif choice.room[flow.slot] > 0 or pinned:
            return flow.slot if choice.room[flow.slot] > 0 else ANY
        else:
            return spread(conn, flow, choice, now)
    if now - conn.load_at > LOAD_STEP:
        count_load(conn, choice, now)
    slot = pick(conn, flow, choice, factor)
    if slot != ANY:
        if slot != flow.slot:
            if fit:
                conn.load[flow.slot] -= weight_of(conn, flow)
            conn.load[slot] += weight_of(conn, flow)
        flow.slot = slot
        flow.placed = now
    return slot if slot != ANY and choice.room[slot] > 0 else ANY


cdef int choose_minrtt(conn_t* conn, flow_t* flow, choice_t* choice, double now) noexcept nogil:
    cdef int slot = lowest_rtt(conn, choice)
    if flow.spread:
        return spread(conn, flow, choice, now)
    if (conn.spread or flow.stamps == STAMPED) and slot != ANY:
        if slot != flow.slot and flow.slot != ANY and now - flow.last_sent < gap_of(conn, choice):
            begin_spread(conn, flow, choice, now)
        if flow.spread:
            return spread(conn, flow, choice, now)
        flow.slot = slot
    return slot


cdef int choose(conn_t* conn, flow_t* flow, choice_t* choice, double now) noexcept nogil:
    """The slot of the path for the flow's next burst, ANY if it has to wait. `flow` has packets."""
    if flow.spread and now - flow.last_sent > PAUSE:
        flow.spread = False             # nothing of it is on the way any more
        flow.slot = ANY
    if conn.scheduler == REDUNDANT and conn.several:
        return earliest(conn, choice)
    if conn.scheduler == WLB or conn.scheduler == WLB_UDP_PIN:
        return choose_wlb(conn, flow, choice, now)
    return choose_minrtt(conn, flow, choice, now)


cdef path_t* control_path(conn_t* conn, double now) noexcept nogil:
    """The path for control frames that may go anywhere: fit for IP packets if there is one, else validated, else any
    that has an address; the lowest RTT among equals."""
    cdef int i, grade, best_grade = 0
    cdef path_t* path
    cdef path_t* best = NULL
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL or path.abandoned or not path.opened:
            continue
        grade = 1 + (1 if path.validated else 0) + (2 if not path.suspect else 0) + (1 if path.usable else 0)
        if grade > best_grade or (grade == best_grade and rtt_of(path) < rtt_of(best)):
            best, best_grade = path, grade
    return best
