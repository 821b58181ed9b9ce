# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Delivery rate samples of one path (draft-ietf-ccwg-bbr, section 4.1; draft-cheng-iccrg-delivery-rate-estimation).

One sample an acknowledgement, taken from the newest packet that it covers: what was delivered between that packet's
departure and now, over the longer of the time to send it and the time to acknowledge it. The longer one, because acks
come one for each receive batch and packets leave in bursts: the shorter time would promise more than the path has.
A sample is *limited* when the sender had too little to send: it bounds the path's rate from below only.
"""


cdef void rate_limited(rate_t* r, uint64_t in_flight) noexcept nogil:
    """The sender leaves room unused: samples of what is in flight now, and of what leaves next, tell its own rate."""
    r.limited_until = r.delivered + in_flight
    if r.limited_until == 0:
        r.limited_until = 1


cdef void rate_sent(rate_t* r, mark_t* mark, uint32_t size, uint64_t in_flight, bint idle, double now) noexcept nogil:
    """A packet of size bytes leaves, in_flight bytes are under way before it; idle: nothing was."""
    if idle:
        r.first_sent = r.delivered_at = now     # idle time is not delivery time
    mark.delivered_ago = <float>(now - r.delivered_at)
    mark.first_ago = <float>(now - r.first_sent)
    mark.delivered = <uint32_t>r.delivered
    mark.lost = <uint32_t>r.lost
    mark.in_flight = <uint32_t>(in_flight + size)
    mark.limited = r.limited_until != 0


cdef void rate_acked(rate_t* r, sample_t* sample, const mark_t* mark, uint64_t number, uint32_t size, double sent,
                     double now) noexcept nogil:
    """Packet `number` was delivered; the newest one of an acknowledgement makes its sample."""
    r.delivered += size
    r.delivered_at = now
    sample.acked += size
    if number < r.newest:
        return
    r.newest = number + 1
    r.first_sent = sent
    r.taken_ago = mark.delivered_ago
    r.taken_first = mark.first_ago
    sample.newest = number
    sample.newest_sent = sent
    sample.prior_delivered = mark.delivered     # modulo 2^32 until rate_finish()
    sample.lost_since = mark.lost
    sample.tx_in_flight = mark.in_flight
    sample.limited = mark.limited


cdef void rate_finish(rate_t* r, sample_t* sample, double min_rtt, double now) noexcept nogil:
    """All packets of the acknowledgement are counted: complete the sample."""
    cdef double elapsed
    sample.now = now
    sample.delivered = r.delivered
    if r.limited_until != 0 and r.delivered > r.limited_until:
        r.limited_until = 0
    if sample.newest_sent == 0.0:               # only packets older than others before: nothing new of the rate
        sample.prior_delivered = r.delivered - sample.acked
        return
    sample.prior_delivered = r.delivered - <uint32_t>(<uint32_t>r.delivered - <uint32_t>sample.prior_delivered)
    sample.lost_since = <uint32_t>(<uint32_t>r.lost - <uint32_t>sample.lost_since)
    elapsed = now - sample.newest_sent + r.taken_ago
    if elapsed < r.taken_first:
        elapsed = r.taken_first
    if elapsed >= min_rtt and elapsed > 0.0:    # less than a round trip is compression, not delivery
        sample.rate = (sample.delivered - sample.prior_delivered) / elapsed
