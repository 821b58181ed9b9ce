# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""CUBIC (RFC 9438) with HyStart's delay test (RFC 9406). Windows are bytes, times seconds of the caller's clock.

Loss of several packets of one window is one event (RFC 9002, section 7.3.2): `recovery` remembers when the last one
was answered. The window grows only while it is what holds the sender back (RFC 9002, section 7.8).
"""
from libc.math cimport cbrt
from libc.stdint cimport uint64_t
from libc.string cimport memset
from mqvpn.dataplane.congestion cimport MINIMUM_PACKETS, cubic_t, initial_window

cdef enum:
    ROUND_SAMPLES = 4               # RTT samples before a round is judged

cdef double BETA = 0.7              # RFC 9438, section 4.6
cdef double SCALE = 0.4             # RFC 9438: C, in segments per cubic second
cdef double FOREVER = 1e30


cdef void cubic_reset(congestion_t* cc) noexcept nogil:
    """Initial window, slow start, no pacing until an RTT is known."""
    memset(&cc.cubic, 0, sizeof(cubic_t))
    cc.cwnd = initial_window(cc)
    cc.cubic.ssthresh = FOREVER
    cc.cubic.round_min = FOREVER
    cc.cubic.last_round_min = FOREVER


cdef void cubic_acked(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """Grow by what was delivered, and pace at the window per RTT, faster while it grows (RFC 9002, section 7.7)."""
    cdef uint64_t prior = sample.prior_in_flight
    if sample.rtt > 0.0:
        hystart(cc, sample)
    if sample.newest_sent > cc.cubic.recovery and prior + prior / 4 + 2 * cc.segment >= cc.cwnd:
        if cc.cwnd < cc.cubic.ssthresh:
            cc.cwnd += sample.acked
        else:
            grow(cc, sample.acked, sample.srtt, sample.now)
    if sample.srtt > 0.0:
        cc.rate = cc.cwnd / sample.srtt * (2.0 if cc.cwnd < cc.cubic.ssthresh else 1.25)


cdef void grow(congestion_t* cc, uint64_t size, double srtt, double now) noexcept nogil:
    cdef cubic_t* c = &cc.cubic
    cdef double t, target
    if c.epoch == 0.0:
        c.epoch = now
        if c.w_max < cc.cwnd:
            c.w_max = cc.cwnd
        c.k = cbrt((c.w_max - cc.cwnd) / cc.segment / SCALE)
        c.w_est = cc.cwnd
    t = now - c.epoch + srtt
    target = c.w_max + SCALE * cc.segment * (t - c.k) * (t - c.k) * (t - c.k)
    if target > 1.5 * cc.cwnd:
        target = 1.5 * cc.cwnd
    c.w_est += 0.529 * cc.segment * size / cc.cwnd          # 3 (1 - beta) / (1 + beta): RFC 9438, section 4.3
    if target < c.w_est:
        target = c.w_est
    if target > cc.cwnd:
        cc.cwnd += (target - cc.cwnd) * size / cc.cwnd


cdef void hystart(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """Leave slow start when a round's smallest RTT has risen by an eighth (4 to 16 ms)."""
    cdef cubic_t* c = &cc.cubic
    cdef double rise
    if cc.cwnd >= c.ssthresh:
        return
    if sample.newest >= c.round_end:
        c.last_round_min = c.round_min
        c.round_min = FOREVER
        c.round_samples = 0
        c.round_end = sample.next
    if sample.rtt < c.round_min:
        c.round_min = sample.rtt
    c.round_samples += 1
    if c.round_samples < ROUND_SAMPLES or c.last_round_min >= FOREVER:
        return
    rise = c.last_round_min / 8
    rise = 0.004 if rise < 0.004 else (0.016 if rise > 0.016 else rise)
    if c.round_min >= c.last_round_min + rise:
        c.ssthresh = cc.cwnd


cdef void cubic_lost(congestion_t* cc, double sent, double now) noexcept nogil:
    """A packet sent at that time is lost (or was CE-marked): one reduction per window."""
    cdef cubic_t* c = &cc.cubic
    if sent <= c.recovery:
        return
    c.undo_cwnd, c.undo_ssthresh, c.undo_w_max = cc.cwnd, c.ssthresh, c.w_max
    c.recovery = now
    c.epoch = 0.0
    # Fast convergence (RFC 9438, section 4.7): a flow that shrinks leaves room for others.
    c.w_max = cc.cwnd * (1.0 + BETA) / 2 if cc.cwnd < c.w_max else cc.cwnd
    cc.cwnd *= BETA
    if cc.cwnd < MINIMUM_PACKETS * cc.segment:
        cc.cwnd = MINIMUM_PACKETS * cc.segment
    c.ssthresh = cc.cwnd


cdef void cubic_undo(congestion_t* cc) noexcept nogil:
    """The last reduction answered a loss that was none (RFC 9438, section 4.9)."""
    cdef cubic_t* c = &cc.cubic
    if c.undo_cwnd == 0.0:
        return
    if cc.cwnd < c.undo_cwnd:
        cc.cwnd = c.undo_cwnd
    c.ssthresh, c.w_max = c.undo_ssthresh, c.undo_w_max
    c.epoch = c.recovery = c.undo_cwnd = 0.0


cdef void cubic_persistent(congestion_t* cc) noexcept nogil:
    """Persistent congestion (RFC 9002, section 7.6): the smallest window, slow start to where it was."""
    cc.cwnd = MINIMUM_PACKETS * cc.segment
    cc.cubic.epoch = cc.cubic.undo_cwnd = 0.0
