# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The queue of one connection: flows take turns (deficit round robin), each kept short by CoDel.

RFC 8290 (FQ-CoDel) and RFC 8289 (CoDel). A TUN device gives no back-pressure, so this is where inner congestion is
told to the inner senders: a packet that waited too long is CE-marked (ECN) or dropped from the head. Of a super
packet only one segment is dropped, as a router would. Every drop has its reason.

All clients' packets come from two pools. A queue may hold no more of a pool than the pool has left; else whichever
queue holds most of it gives some up. So however many clients are frozen, and whenever they filled up, they keep no
more than another one that sends gets, and as much again is left.
"""
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset
from mqvpn.dataplane.flowtable cimport flow_find, flow_key, flow_make, flows_clear
from mqvpn.dataplane.headers cimport load16, store16
from mqvpn.dataplane.packet cimport packet_free, packets_left
from mqvpn.dataplane.segment cimport segment_done, segment_write

cdef enum:
    QUEUE_SMALL = 8192              # packets: 18 MB of small buffers, 30 MB of large ones
    QUEUE_LARGE = 464
    QUEUE_BYTES = 8 * 1024 * 1024
    LITTLE = 3000                   # bytes waiting of a flow that holds up no newer one
    BATCH_DROPPED = 64              # packets, and bytes, dropped at once of a flow that has too many
    BATCH_BYTES = 65536
    DROP_QUEUE_FULL = 7             # wire.drop.Drop
    DROP_QUEUE_DELAY = 8
    DROP_NO_MEMORY = 20

cdef enum shortage:
    NOTHING = 0
    SMALL = 1                       # buffers
    LARGE = 2
    BYTES = 3

cdef double INTERVAL = 0.1          # RFC 8289, section 4.2
cdef double TURN = 0.0005           # seconds that a flow's turn may last
cdef double RATE_STEP = 0.25        # flow rates are averaged over windows of this length

cdef uint8_t scratch[66000]         # where a segment that CoDel drops is cut to
cdef queue_t* queues = NULL         # all that ever had a packet


# The round of flows that have packets. Those that come newly are at its front; the others follow by turns.

cdef inline void join(queue_t* queue, flow_t* flow) noexcept nogil:
    """A flow that was empty goes before those that were not, so that sparse flows do not wait (RFC 8290, section 4.1),
    but with one quantum in a round, however often it is empty: used up, it goes last. Those that came before it keep
    their place while they have little to send."""
    cdef uint64_t* round = &queue.rounds[flow.slot + 1]
    queue.active += 1
    if flow.turn <= round[0]:
        flow.deficit = <int32_t>queue.quantum
        flow.turn = round[0] + 1
    if queue.first == NULL:
        flow.before = flow.after = flow
        queue.first = queue.front = queue.newest = flow
        return
    if flow.turn > round[0] + 1:
        place(flow, queue.first.before)
        return
    # None of these is left, or their path has no room, or the last of them is not sparse.
    if queue.newest == NULL or queue.first != queue.front or queue.newest.bytes > LITTLE:
        place(flow, queue.first.before)
        queue.first = queue.front = flow
    else:
        place(flow, queue.newest)
    queue.newest = flow


cdef inline void place(flow_t* flow, flow_t* before) noexcept nogil:
    flow.before = before
    flow.after = before.after
    flow.before.after = flow
    flow.after.before = flow


cdef inline void leave(queue_t* queue, flow_t* flow) noexcept nogil:
    queue.active -= 1
    flow.dropping = False
    flow.first_above = 0.0
    if queue.newest == flow:
        queue.newest = NULL if queue.front == flow else flow.before
    if flow.after == flow:
        queue.first = NULL
        return
    flow.before.after = flow.after
    flow.after.before = flow.before
    if queue.front == flow:
        queue.front = flow.after
    if queue.first == flow:
        queue.first = flow.after


cdef void queue_pop(queue_t* queue, flow_t* flow) noexcept nogil:
    """Remove the head packet of a flow (sent whole, or dropped) and free it."""
    cdef packet_t* packet = flow.head
    flow.head = packet.next
    queue.packets -= 1
    queue.large -= not packet.small
    queue.bytes -= packet.length
    flow.packets -= 1
    flow.large -= not packet.small
    flow.bytes -= packet.length
    packet_free(packet)
    if flow.head == NULL:
        flow.tail = NULL
        leave(queue, flow)


cdef int queue_add(queue_t* queue, packet_t* packet, uint64_t* drops) noexcept nogil:
    """Take a packet; makes room by dropping others. Returns 0, -1 if this one was not taken."""
    cdef uint64_t key = flow_key(packet.data, packet.length)
    cdef flow_t* flow = flow_find(queue, key)
    cdef shortage what
    if flow == NULL:
        if queue.link == NULL:
            enlist(queue)
        flow = flow_make(queue, key, packet.arrived)
    if flow == NULL:
        drops[DROP_NO_MEMORY] += 1
        packet_free(packet)
        return -1
    what = lacks(queue, packet)
    while what != NOTHING and make_room(queue, what, drops):
        what = lacks(queue, packet)
    packet.next = NULL
    if flow.head == NULL:
        flow.head = packet
        join(queue, flow)
    else:
        flow.tail.next = packet
    flow.tail = packet
    flow.packets += 1
    flow.large += not packet.small
    flow.bytes += packet.length
    queue.packets += 1
    queue.large += not packet.small
    queue.bytes += packet.length
    return 0


cdef inline int buffers(const queue_t* queue, bint small) noexcept nogil:
    """How many of that size the queue holds."""
    return queue.packets - queue.large if small else queue.large


cdef inline shortage lacks(const queue_t* queue, const packet_t* packet) noexcept nogil:
    """What some must be given up of before the queue takes this packet."""
    cdef int held = buffers(queue, packet.small)
    if held >= (QUEUE_SMALL if packet.small else QUEUE_LARGE) or held > packets_left(packet.small):
        return SMALL if packet.small else LARGE
    return BYTES if queue.packets and queue.bytes + packet.length > QUEUE_BYTES else NOTHING


cdef inline uint64_t holds(const flow_t* flow, shortage what) noexcept nogil:
    if what == BYTES:
        return flow.bytes
    return flow.large if what == LARGE else flow.packets - flow.large


cdef bint make_room(queue_t* queue, shortage what, uint64_t* drops) noexcept nogil:
    """Drop some packets: of the queue itself if it has too many bytes, else of the one that holds most of those buffers
    (a queue at its own limit does). False: nobody holds any."""
    cdef queue_t* longest = queue
    cdef queue_t* other = queues if what != BYTES else NULL
    while other != NULL:
        if buffers(other, what == SMALL) > buffers(longest, what == SMALL):
            longest = other
        other = other.following
    if what != BYTES and buffers(longest, what == SMALL) == 0:
        return False
    drop_longest(longest, what, drops)
    return True


cdef void drop_longest(queue_t* queue, shortage what, uint64_t* drops) noexcept nogil:
    """Drop from the head of the flow that has most of what is short; some packets at once, up to half of them, because
    the search is dear (RFC 8290, section 4.1), but no more than an eighth of the queue's, lest it falls far below its
    share."""
    cdef flow_t* longest = queue.first
    cdef flow_t* flow = queue.first.after
    cdef uint32_t count
    cdef int64_t enough = BATCH_BYTES
    while flow != queue.first:
        if holds(flow, what) > holds(longest, what):
            longest = flow
        flow = flow.after
    count = (longest.packets + 1) // 2
    if count > queue.packets // 8 + 1:
        count = queue.packets // 8 + 1
    if count > BATCH_DROPPED:
        count = BATCH_DROPPED
    while count and enough > 0:
        count -= 1
        enough -= longest.head.length
        drops[DROP_QUEUE_FULL] += 1
        queue_pop(queue, longest)


cdef void enlist(queue_t* queue) noexcept nogil:
    global queues
    queue.following, queue.link = queues, &queues
    if queues != NULL:
        queues.link = &queue.following
    queues = queue


cdef void delist(queue_t* queue) noexcept nogil:
    if queue.link == NULL:
        return
    queue.link[0] = queue.following
    if queue.following != NULL:
        queue.following.link = queue.link


# CoDel.

cdef bint mark_ce(packet_t* packet) noexcept nogil:
    """Set Congestion Experienced if the sender speaks ECN (RFC 3168, section 5)."""
    cdef uint8_t* p = packet.data
    cdef uint32_t total
    if packet.version == 6:
        if not p[1] & 0x30:
            return False
        p[1] |= 0x30
        return True
    if not p[1] & 3:
        return False
    total = (~load16(p + 10) & 0xffff) + (~load16(p) & 0xffff)     # RFC 1624: take out the old word, add the new
    p[1] |= 3
    total += load16(p)
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    store16(p + 10, ~total & 0xffff)
    return True


cdef bint over_target(flow_t* flow, double target, double now) noexcept nogil:
    """The head has waited longer than target, for an interval by now, and it is not alone."""
    if now - flow.head.arrived < target or flow.head == flow.tail:
        flow.first_above = 0.0
        return False
    if flow.first_above == 0.0:
        flow.first_above = now + INTERVAL
        return False
    return now >= flow.first_above


cdef bint drop_due(flow_t* flow, double target, double now) noexcept nogil:
    """CoDel's decision for the head packet (RFC 8289, section 5.5)."""
    cdef bint over = over_target(flow, target, now)
    if flow.dropping:
        if not over:
            flow.dropping = False
            return False
        if now < flow.drop_next:
            return False
        flow.drops += 1
        flow.drop_next += INTERVAL / sqrt(flow.drops)
        return True
    if not over:
        return False
    flow.dropping = True
    flow.drops = flow.drops - 2 if flow.drops > 2 and now - flow.drop_next < 16 * INTERVAL else 1
    flow.drop_next = now + INTERVAL / sqrt(flow.drops)
    return True


cdef packet_t* queue_head(queue_t* queue, flow_t* flow, double target, double now, uint64_t* drops) noexcept nogil:
    """The packet to send next from this flow, after CoDel; NULL: the flow is empty (and has left the round)."""
    cdef packet_t* packet
    while flow.head != NULL:
        packet = flow.head
        if packet.cursor or not drop_due(flow, target, now) or mark_ce(packet):
            return packet
        drops[DROP_QUEUE_DELAY] += 1
        if packet.gso_size:
            segment_write(packet, scratch)
            if not segment_done(packet):
                return packet
        queue_pop(queue, flow)
    return NULL


cdef void queue_sent(queue_t* queue, flow_t* flow, uint32_t size, double now) noexcept nogil:
    """size bytes of the flow's head went out: its deficit, its rate, and the turn passes when the deficit is used. What
    is left of a super packet by then goes with it if it is no more than a turn: cut in two, it costs twice."""
    cdef uint64_t* round = &queue.rounds[flow.slot + 1]
    cdef double elapsed = now - flow.window
    cdef uint32_t rest = flow.head.length - flow.head.header_length - flow.head.cursor if flow.head.gso_size else 0
    flow.last_sent = now
    flow.volume += size
    if elapsed > RATE_STEP:
        flow.rate = (flow.rate + flow.volume / elapsed) / 2 if elapsed < 2 * RATE_STEP else flow.volume / elapsed
        flow.volume = 0
        flow.window = now
    if flow.turn != round[0] + 1:
        round[0] += flow.turn > round[0] + 1    # the first of the next round
        flow.turn = round[0] + 1
    flow.deficit -= <int32_t>size
    if flow.deficit <= 0 and (rest == 0 or rest > queue.quantum):
        flow.deficit += <int32_t>queue.quantum
        flow.turn += 1
        if queue.newest == flow or queue.front != flow:
            queue.newest = NULL
        if queue.first == flow:
            queue.first = queue.front = flow.after


cdef void queue_pace(queue_t* queue, double rate) noexcept nogil:
    """How much a turn is, now that a path takes so many bytes per second."""
    cdef double most = rate * TURN
    if most < QUANTUM_LEAST:
        most = QUANTUM_LEAST
    queue.quantum = <uint32_t>(most if most < QUANTUM_MOST else QUANTUM_MOST)


cdef void queue_clear(queue_t* queue) noexcept nogil:
    """Free everything."""
    while queue.first != NULL:
        queue_pop(queue, queue.first)
    flows_clear(queue)
    delist(queue)
    memset(queue, 0, sizeof(queue_t))
