# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Loss recovery of one path (RFC 9002, sections 5 to 7.6), over a ring of sent packets that doubles when it fills.

Packet numbers start at 0 on every path and are never reused; now and then one is skipped, so that a peer which
acknowledges what it did not receive is found out (RFC 9000, section 21.4). The ring holds [base, next); an entry is
done when it is acknowledged or lost, and base moves over what is done, so each packet is visited a constant number
of times. Datagrams are never sent again; control frames carry a token and come back to Python by it.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from mqvpn.dataplane.congestion cimport (
    congestion_acked, congestion_idle, congestion_lost, congestion_marked, congestion_persistent, congestion_reset,
    pacing_idle)
from mqvpn.dataplane.rate cimport rate_acked, rate_finish, rate_limited, rate_sent
from mqvpn.dataplane.reorder cimport reorder_acked, reorder_lost, reorder_reduce, reorder_reset

cdef enum:
    SKIP_FIRST = 64                 # a number in so many is skipped at first, later in
    SKIP_LAST = 8192
    SPARE = 16                      # one packet number in so many of those that can be on their way is for probes
    LOOK = 64                       # packets behind a lost one that tell whether its size still passes

cdef double GRANULARITY = 0.001     # RFC 9002, section 6.1.2
cdef double INITIAL_RTT = 0.333     # RFC 9002, section 6.2.2
cdef uint64_t NEVER = <uint64_t>-1
cdef double RATE_WINDOW = 3.0       # a delivery-rate maximum is believed this long, seconds


cdef int recovery_reset(recovery_t* r, uint32_t segment, uint64_t seed) noexcept nogil:
    """A fresh packet number space; 0, or -1 without memory. seed: which numbers it skips."""
    memset(r, 0, sizeof(recovery_t))
    r.ring = <sent_t*>calloc(RING_FIRST, sizeof(sent_t))
    if r.ring == NULL:
        return -1
    r.capacity = RING_FIRST
    r.peer_delay = 0.025
    r.seed = seed
    r.skipped[0] = r.skipped[1] = NEVER
    r.skip_span = SKIP_FIRST
    r.skip_at = 1 + random(r) % SKIP_FIRST
    reorder_reset(&r.reorder)
    congestion_reset(&r.cc, segment)
    return 0


cdef void recovery_clear(recovery_t* r) noexcept nogil:
    free(r.ring)
    r.ring = NULL
    r.capacity = 0


cdef void recovery_restart(recovery_t* r, uint32_t segment) noexcept nogil:
    """The path moved: RTT and congestion state begin anew; packet numbers go on, and what was sent to the old address
    tells nothing of the new one (RFC 9000, section 9.4)."""
    cdef uint64_t n
    for n in range(r.base, r.next):
        r.ring[n & (r.capacity - 1)].size = 0
    r.first = r.next
    r.in_flight = 0
    r.latest = r.srtt = r.rttvar = r.min_rtt = 0.0
    r.sampled_at = r.run = 0.0
    r.rate = 0.0
    r.pto_count = 0
    reorder_reset(&r.reorder)
    congestion_reset(&r.cc, segment)


cdef inline uint64_t random(recovery_t* r) noexcept nogil:
    """SplitMix64."""
    cdef uint64_t z
    r.seed += <uint64_t>0x9e3779b97f4a7c15
    z = r.seed
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111eb
    return z ^ (z >> 31)


cdef void skip(recovery_t* r) noexcept nogil:
    """Leave the next packet number out, and choose when to do so again: ever more seldom."""
    r.ring[r.next & (r.capacity - 1)].state = SENT_NONE
    r.ring[r.next & (r.capacity - 1)].size = 0
    r.ring[r.next & (r.capacity - 1)].kept = 0
    r.skipped[1] = r.skipped[0]
    r.skipped[0] = r.next
    r.next += 1
    r.skip_span = r.skip_span * 2 if r.skip_span < SKIP_LAST else SKIP_LAST
    r.skip_at = r.next + 1 + random(r) % r.skip_span


cdef bint resize(recovery_t* r, uint32_t capacity) noexcept nogil:
    """Of the packets that are done with, the newest stay known. False: no memory, or too many."""
    cdef uint32_t known = capacity if capacity < r.capacity else r.capacity
    cdef uint64_t n = r.next - known if r.next > known else 0
    cdef sent_t* ring = <sent_t*>calloc(capacity, sizeof(sent_t)) if capacity <= RING_MOST else NULL
    if ring == NULL:
        return False
    while n < r.next:
        ring[n & (capacity - 1)] = r.ring[n & (r.capacity - 1)]
        n += 1
    free(r.ring)
    r.ring = ring
    r.capacity = capacity
    return True


cdef bint recovery_shrink(recovery_t* r) noexcept nogil:
    """Halve a ring that is mostly unused; whether it is still larger than at first."""
    if r.capacity > RING_FIRST and 4 * (r.next - r.base) <= r.capacity:
        resize(r, r.capacity // 2)
    return r.capacity > RING_FIRST


cdef bint recovery_takes(recovery_t* r) noexcept nogil:
    """Whether one more IP packet can be on its way. Some numbers are left for probes, without which a silent path would
    never give any back."""
    return r.next - r.base + 1 < r.capacity - r.capacity // SPARE or resize(r, 2 * r.capacity)


cdef bint recovery_sent(recovery_t* r, uint16_t size, sent_kind kind, uint32_t token, double now) noexcept nogil:
    """Take a packet number, next - 1 afterwards, for a packet of size bytes; False: the ring can grow no more."""
    cdef sent_t* s
    if r.next - r.base + 1 >= r.capacity and not resize(r, 2 * r.capacity):
        return False
    if r.next == r.skip_at:
        skip(r)
    s = &r.ring[r.next & (r.capacity - 1)]
    r.next += 1
    s.time = now
    s.size = 0 if kind == ELSEWHERE else size
    s.token = token
    s.kept = 0
    s.probe = kind == MTU_PROBE or kind == ELSEWHERE
    if kind == ACK_ONLY:                    # nothing waits for it
        s.state = SENT_QUIET
        advance(r)
        return True
    if r.flying == 0:
        congestion_idle(&r.cc, now)
    if r.sampler.starved and pacing_idle(&r.cc, now):
        rate_limited(&r.sampler, r.in_flight)
    rate_sent(&r.sampler, &s.mark, s.size, r.in_flight, r.flying == 0, now)
    s.state = SENT_FLYING
    r.flying += 1
    r.in_flight += s.size
    r.last_eliciting = now
    return True


cdef inline void advance(recovery_t* r) noexcept nogil:
    while r.base < r.next and r.ring[r.base & (r.capacity - 1)].state != SENT_FLYING:
        r.base += 1


cdef int recovery_acked(recovery_t* r, uint64_t low, uint64_t high, double now, token_f tell,
                        void* owner) noexcept nogil:
    """The peer has [low, high]: ack-eliciting packets newly acknowledged, or -1 if one of them was never sent.
    Once all ranges of a frame are told, recovery_detect() follows."""
    cdef int count = 0
    cdef uint64_t n = high
    cdef sent_t* s
    if high >= r.next or low <= r.skipped[0] <= high or low <= r.skipped[1] <= high:
        return -1
    if r.reorder.count:
        reorder_acked(&r.reorder, &r.cc, low, high, r.largest_acked, now)
    if r.sample.acked == 0:
        r.sample.prior_in_flight = r.in_flight
    if low < r.base:
        low = r.base
    while n + 1 > low:                      # from the newest down: n may be 0
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            count += 1
            r.flying -= 1
            r.in_flight -= s.size
            note_large(r, s, n)
            if s.size:
                rate_acked(&r.sampler, &r.sample, &s.mark, n, s.size, s.time, now)
            if s.token:
                tell(owner, s.token, True)
        s.state = SENT_ACKED
        if n == 0:
            break
        n -= 1
    if not r.acked_any or high > r.largest_acked:
        r.largest_acked = high
        r.acked_any = True
    if count:
        r.last_acked = now
        r.acked_packets += count
        r.pto_count = 0
    return count


cdef inline void note_large(recovery_t* r, const sent_t* s, uint64_t number) noexcept nogil:
    """A packet as large as those that were lost arrived: it is not the path's MTU that they were lost by."""
    if r.large_lost and s.size >= r.large_size and number > r.large_first:
        r.large_lost = 0


cdef void note_large_lost(recovery_t* r, const sent_t* s, uint64_t number) noexcept nogil:
    """A large packet is lost, and of those close behind it none that is as large arrived."""
    cdef uint64_t n = number + 1, end = r.largest_acked if r.largest_acked < number + LOOK else number + LOOK
    cdef const sent_t* other
    while n <= end:
        other = &r.ring[n & (r.capacity - 1)]
        if other.state == SENT_ACKED and other.size >= s.size:
            return
        n += 1
    if r.large_lost == 0:
        r.large_first = number
    if r.large_lost == 0 or s.size < r.large_size:
        r.large_size = s.size
    r.large_lost += 1


cdef bint recovery_small_only(const recovery_t* r) noexcept nogil:
    """Whether the last large packet did not arrive, and a smaller one behind it did."""
    cdef uint64_t n = r.largest_acked, end = r.next - r.capacity if r.next > r.capacity else 0
    cdef const sent_t* s
    while r.acked_any and n > end:
        n -= 1
        s = &r.ring[n & (r.capacity - 1)]
        if s.size > LARGE and not s.probe:
            return s.state != SENT_ACKED and r.ring[r.largest_acked & (r.capacity - 1)].size <= LARGE
    return False


cdef double recovery_timed(const recovery_t* r, uint64_t low, uint64_t high) noexcept nogil:
    """When `high` left, if its acknowledgement gives an RTT sample (RFC 9002, section 5.1): it is news, and so is an
    ack-eliciting packet of [low, high]. 0.0: it does not."""
    cdef uint64_t n = high, mask = r.capacity - 1
    if high >= r.next or high < r.base or high < r.first:
        return 0.0
    while n > low and n > r.base and r.ring[n & mask].state == SENT_QUIET:
        n -= 1
    return r.ring[high & mask].time if r.ring[n & mask].state == SENT_FLYING else 0.0


cdef void recovery_sample(recovery_t* r, double rtt, double ack_delay, double now) noexcept nogil:
    """RFC 9002, section 5.3; ack_delay is already cut to the peer's max_ack_delay."""
    cdef double adjusted, deviation
    r.latest = r.sample.rtt = rtt
    if r.srtt == 0.0:
        r.sampled_at = now
        r.min_rtt = rtt
        r.srtt = rtt
        r.rttvar = rtt / 2
        return
    if rtt < r.min_rtt:
        r.min_rtt = rtt
    adjusted = rtt - ack_delay if rtt >= r.min_rtt + ack_delay else rtt
    deviation = r.srtt - adjusted if r.srtt > adjusted else adjusted - r.srtt
    r.rttvar += (deviation - r.rttvar) / 4
    r.srtt += (adjusted - r.srtt) / 8


cdef int recovery_detect(recovery_t* r, double now, token_f tell, void* owner) noexcept nogil:
    """Declare lost what is so many packets, or so much of an RTT, older than an acknowledged one (RFC 9002, section
    6.1: three packets and 1/8, unless reordering taught otherwise); base moves over all that is done."""
    cdef double rtt = r.latest if r.latest > r.srtt else r.srtt
    cdef double delay, pto = recovery_pto(r)
    cdef uint64_t n = r.base
    cdef int count = 0
    cdef bint by_time, persistent = False
    cdef sent_t* s
    if rtt == 0.0:
        rtt = INITIAL_RTT
    delay = rtt + rtt * r.reorder.spread if rtt + rtt * r.reorder.spread > GRANULARITY else GRANULARITY
    r.loss_time = 0.0
    while n < r.next:
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            if not r.acked_any or n > r.largest_acked:
                break
            by_time = n + r.reorder.packets > r.largest_acked
            if by_time and s.time + delay > now:
                r.loss_time = s.time + delay
                break
            if not s.probe:
                persistent = lose(r, s, n, by_time, pto, now) or persistent
                if s.size > LARGE:
                    note_large_lost(r, s, n)
            finish(r, s, tell, owner)
            count += 1
        elif s.state == SENT_ACKED:
            r.run = 0.0
        n += 1
    r.base = n
    if persistent:
        congestion_persistent(&r.cc)
        r.min_rtt = r.latest            # RFC 9002, section 5.2
        r.run = 0.0
    finish_sample(r, now)
    return count


cdef bint lose(recovery_t* r, const sent_t* s, uint64_t number, bint by_time, double pto, double now) noexcept nogil:
    """A packet is lost: its congestion event; True when congestion is persistent (RFC 9002, section 7.6.2): it and an
    earlier lost one are three PTOs apart, none between them was acknowledged, and an RTT was known before both."""
    if s.size == 0:
        return False
    reorder_reduce(&r.reorder, s.time, now)
    reorder_lost(&r.reorder, number, by_time, now, pto)
    r.sampler.lost += s.size
    r.sample.lost += s.size
    congestion_lost(&r.cc, &s.mark, s.size, s.time, r.sampler.lost, now)
    if r.sampled_at == 0.0 or s.time <= r.sampled_at:
        return False
    if r.run == 0.0:
        r.run = s.time
    return s.time - r.run > 3 * pto


cdef void finish_sample(recovery_t* r, double now) noexcept nogil:
    """All that an acknowledgement told is counted: congestion control takes its sample."""
    cdef sample_t* sample = &r.sample
    if sample.acked:
        rate_finish(&r.sampler, sample, r.min_rtt, now)
        sample.srtt, sample.in_flight, sample.next = r.srtt, r.in_flight, r.next
        if sample.rate >= r.rate or (sample.rate > 0.0 and not sample.limited and now - r.rate_at > RATE_WINDOW):
            r.rate, r.rate_at = sample.rate, now
        congestion_acked(&r.cc, sample)
        if r.cc.holding:
            rate_limited(&r.sampler, r.in_flight)
    memset(sample, 0, sizeof(sample_t))


cdef inline void finish(recovery_t* r, sent_t* s, token_f tell, void* owner) noexcept nogil:
    """The packet is given up."""
    r.flying -= 1
    r.in_flight -= s.size
    r.lost_packets += 1
    s.state = SENT_NONE
    if s.token:
        tell(owner, s.token, False)
    else:
        r.lost_datagrams += 1


cdef void recovery_marked(recovery_t* r, uint64_t packets, double now) noexcept nogil:
    """So many packets more, the newest acknowledged one among the last of them, say that the network is congested
    (RFC 9002, section 7.1)."""
    cdef double sent = r.ring[r.largest_acked & (r.capacity - 1)].time
    if r.largest_acked < r.first:
        return
    reorder_reduce(&r.reorder, sent, now)
    r.reorder.final = True
    congestion_marked(&r.cc, packets * r.cc.segment, sent, now)


cdef int recovery_give_up(recovery_t* r, bint all_packets, token_f tell, void* owner) noexcept nogil:
    """Report every control frame in flight as lost so that it goes out elsewhere; how many packets had such.
    all_packets: forget the rest too."""
    cdef uint64_t n = r.base
    cdef int count = 0
    cdef sent_t* s
    while n < r.next:
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            count += s.token != 0 and not s.probe
            if all_packets:
                finish(r, s, tell, owner)
            elif s.token and not s.probe:
                tell(owner, s.token, False)
                s.token = 0
        n += 1
    if all_packets:
        advance(r)
        r.loss_time = r.run = 0.0
    return count


cdef double recovery_pto(const recovery_t* r) noexcept nogil:
    """One probe timeout without backoff, seconds (RFC 9002, section 6.2.1)."""
    cdef double spread
    if r.srtt == 0.0:
        return 3 * INITIAL_RTT + r.peer_delay       # RTTVAR is half of it: section 6.2.2
    spread = 4 * r.rttvar if 4 * r.rttvar > GRANULARITY else GRANULARITY
    return r.srtt + spread + r.peer_delay


cdef double recovery_oldest(const recovery_t* r) noexcept nogil:
    """When the oldest ack-eliciting packet in flight left, probes of the MTU aside; 0.0: none."""
    cdef uint64_t n = r.base
    cdef const sent_t* s
    while n < r.next:
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING and not s.probe:
            return s.time
        n += 1
    return 0.0
