# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Loss recovery of one path (RFC 9002, sections 5 and 6), over a ring of sent packets that doubles when it fills.

Packet numbers start at 0 on every path and are never reused. The ring holds [base, next); an entry is done when it
is acknowledged or lost, and base moves over what is done, so each packet is visited a constant number of times.
Datagrams are never sent again; control frames carry a token and come back to Python by it.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from mqvpn.dataplane.congestion cimport (
    congestion_acked, congestion_lost, congestion_persistent, congestion_reset, congestion_set_rate)

cdef double GRANULARITY = 0.001     # RFC 9002, section 6.1.2
cdef double INITIAL_RTT = 0.333     # RFC 9002, section 6.2.2
cdef double RATE_WINDOW = 3.0       # a delivery-rate maximum is believed this long, seconds


cdef int recovery_reset(recovery_t* r, uint32_t segment) noexcept nogil:
    """A fresh packet number space; 0, or -1 without memory."""
    memset(r, 0, sizeof(recovery_t))
    r.ring = <sent_t*>calloc(RING_FIRST, sizeof(sent_t))
    if r.ring == NULL:
        return -1
    r.capacity = RING_FIRST
    r.peer_delay = 0.025
    congestion_reset(&r.cc, segment)
    return 0


cdef void recovery_clear(recovery_t* r) noexcept nogil:
    free(r.ring)
    r.ring = NULL
    r.capacity = 0


cdef void recovery_restart(recovery_t* r, uint32_t segment) noexcept nogil:
    """The path moved: RTT and congestion state begin anew (RFC 9000, section 9.4); packet numbers go on."""
    r.latest = r.srtt = r.rttvar = r.min_rtt = 0.0
    r.rate = 0.0
    r.pto_count = 0
    congestion_reset(&r.cc, segment)


cdef bint grow(recovery_t* r) noexcept nogil:
    cdef uint32_t capacity = r.capacity * 2
    cdef sent_t* ring
    cdef uint64_t n
    if capacity > RING_MOST:
        return False
    ring = <sent_t*>calloc(capacity, sizeof(sent_t))
    if ring == NULL:
        return False
    n = r.base
    while n < r.next:
        ring[n & (capacity - 1)] = r.ring[n & (r.capacity - 1)]
        n += 1
    free(r.ring)
    r.ring = ring
    r.capacity = capacity
    return True


cdef bint recovery_sent(recovery_t* r, uint16_t size, sent_kind kind, uint32_t token, double now) noexcept nogil:
    """Take the next packet number for a packet of size bytes; False when the ring can grow no more."""
    cdef sent_t* s
    if r.next - r.base >= r.capacity and not grow(r):
        return False
    s = &r.ring[r.next & (r.capacity - 1)]
    r.next += 1
    s.time = now
    s.size = size
    s.token = token
    s.delivered = r.delivered
    if kind == ACK_ONLY:                    # nothing waits for it
        s.state = SENT_NONE
        advance(r)
        return True
    if r.flying == 0:                       # an idle time is not delivery time
        r.delivered_at = now
    s.delivered_at = r.delivered_at
    s.state = SENT_FLYING
    r.flying += 1
    r.in_flight += size
    s.full = kind == BULK and r.in_flight + 4 * r.cc.segment >= r.cc.cwnd
    r.last_eliciting = now
    return True


cdef inline void advance(recovery_t* r) noexcept nogil:
    while r.base < r.next and r.ring[r.base & (r.capacity - 1)].state == SENT_NONE:
        r.base += 1


cdef inline void sample_rate(recovery_t* r, const sent_t* s, double now) noexcept nogil:
    """Delivery rate from one packet's flight; a maximum over RATE_WINDOW, decided by full windows only."""
    cdef double elapsed = now - s.delivered_at, rate
    if elapsed < r.min_rtt or elapsed <= 0.0:
        return
    rate = (r.delivered - s.delivered) / elapsed
    if rate >= r.rate or (s.full and now - r.rate_at > RATE_WINDOW):
        r.rate = rate
        r.rate_at = now


cdef int recovery_acked(recovery_t* r, uint64_t low, uint64_t high, double now, token_f tell,
                        void* owner) noexcept nogil:
    """The peer has [low, high]: packets newly acknowledged, or -1 if one of them was never sent."""
    cdef int count = 0
    cdef uint64_t n = high
    cdef sent_t* s
    cdef sent_t* newest = NULL
    cdef bint limited
    if high >= r.next:
        return -1
    limited = r.in_flight + r.in_flight / 4 + 2 * r.cc.segment >= r.cc.cwnd
    if low < r.base:
        low = r.base
    while n + 1 > low:                      # from the newest down: n may be 0
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            count += 1
            r.flying -= 1
            r.in_flight -= s.size
            r.delivered += s.size
            if newest == NULL:
                newest = s
            congestion_acked(&r.cc, s.size, s.time, limited, r.srtt, now)
            if s.token:
                tell(owner, s.token, True)
        s.state = SENT_NONE
        if n == 0:
            break
        n -= 1
    if not r.acked_any or high > r.largest_acked:
        r.largest_acked = high
        r.acked_any = True
    if newest != NULL:
        sample_rate(r, newest, now)
        r.delivered_at = now
        r.last_acked = now
        r.acked_packets += count
        r.pto_count = 0
    advance(r)
    return count


cdef void recovery_sample(recovery_t* r, double rtt, double ack_delay) noexcept nogil:
    """RFC 9002, section 5.3; ack_delay is already cut to the peer's max_ack_delay."""
    cdef double adjusted, deviation
    r.latest = rtt
    if r.srtt == 0.0:
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
    """Declare lost what is three packets or 9/8 RTT older than an acknowledged one (RFC 9002, section 6.1)."""
    cdef double rtt = r.latest if r.latest > r.srtt else r.srtt
    cdef double delay = 1.125 * rtt if 1.125 * rtt > GRANULARITY else GRANULARITY
    cdef double first = 0.0, last = 0.0
    cdef uint64_t n = r.base
    cdef int count = 0
    cdef sent_t* s
    r.loss_time = 0.0
    if not r.acked_any:
        return 0
    while n < r.largest_acked:
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            if n + 3 > r.largest_acked and s.time + delay > now:
                r.loss_time = s.time + delay
                break
            lose(r, s, tell, owner)
            congestion_lost(&r.cc, s.time, now)
            first = s.time if count == 0 else first
            last = s.time
            count += 1
        n += 1
    advance(r)
    # Persistent congestion (RFC 9002, section 7.6): all packets of three PTOs are gone.
    if count > 1 and r.srtt > 0.0 and last - first > 3 * recovery_pto(r):
        congestion_persistent(&r.cc)
    if r.srtt > 0.0:
        congestion_set_rate(&r.cc, r.srtt)
    return count


cdef inline void lose(recovery_t* r, sent_t* s, token_f tell, void* owner) noexcept nogil:
    r.flying -= 1
    r.in_flight -= s.size
    r.lost_packets += 1
    s.state = SENT_NONE
    if s.token:
        tell(owner, s.token, False)
    else:
        r.lost_datagrams += 1


cdef void recovery_give_up(recovery_t* r, bint all_packets, token_f tell, void* owner) noexcept nogil:
    """Report every control frame in flight as lost so that it goes out elsewhere; all_packets: forget the rest too."""
    cdef uint64_t n = r.base
    cdef sent_t* s
    while n < r.next:
        s = &r.ring[n & (r.capacity - 1)]
        if s.state == SENT_FLYING:
            if all_packets:
                lose(r, s, tell, owner)
            elif s.token:
                tell(owner, s.token, False)
                s.token = 0
        n += 1
    if all_packets:
        advance(r)
        r.loss_time = 0.0


cdef double recovery_pto(const recovery_t* r) noexcept nogil:
    """One probe timeout without backoff, seconds (RFC 9002, section 6.2.1)."""
    cdef double spread
    if r.srtt == 0.0:
        return 2 * INITIAL_RTT + r.peer_delay
    spread = 4 * r.rttvar if 4 * r.rttvar > GRANULARITY else GRANULARITY
    return r.srtt + spread + r.peer_delay


cdef double recovery_oldest(const recovery_t* r) noexcept nogil:
    """When the oldest ack-eliciting packet in flight left; 0.0: none."""
    cdef uint64_t n = r.base
    while n < r.next:
        if r.ring[n & (r.capacity - 1)].state == SENT_FLYING:
            return r.ring[n & (r.capacity - 1)].time
        n += 1
    return 0.0
