# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Congestion control of one path: CUBIC (RFC 9438), HyStart (RFC 9406's delay test), and pacing.

Everything else of the engine knows only the functions of congestion.pxd; another algorithm comes in behind them.
Windows are bytes, times seconds of the caller's clock. Loss of several packets of one window is one event
(RFC 9002, section 7.3.2): `recovery` remembers when the last one was answered.
"""
from libc.math cimport cbrt
from libc.string cimport memset

cdef enum:
    INITIAL_PACKETS = 32
    MINIMUM_PACKETS = 4             # a path that carries GSO bursts and acks of its own never stops dead
    ROUND_SAMPLES = 4               # RTT samples before a round is judged
    BURST_BYTES = 65000

cdef double BETA = 0.7              # RFC 9438, section 4.6
cdef double SCALE = 0.4             # RFC 9438: C, in segments per cubic second
cdef double FOREVER = 1e30


cdef void congestion_reset(congestion_t* cc, uint32_t segment) noexcept nogil:
    """Start anew: initial window, slow start, no pacing until an RTT is known."""
    memset(cc, 0, sizeof(congestion_t))
    cc.segment = segment
    cc.cwnd = INITIAL_PACKETS * segment
    cc.ssthresh = FOREVER
    cc.round_min = FOREVER
    cc.last_round_min = FOREVER


cdef void congestion_acked(congestion_t* cc, uint32_t size, double sent, bint limited, double srtt,
                           double now) noexcept nogil:
    """A packet of size bytes was delivered; limited: the window (not the sender) held us back."""
    if sent <= cc.recovery or not limited:
        return
    if cc.cwnd < cc.ssthresh:
        cc.cwnd += size
        return
    grow_cubic(cc, size, srtt, now)


cdef void grow_cubic(congestion_t* cc, uint32_t size, double srtt, double now) noexcept nogil:
    cdef double t, target
    if cc.epoch == 0.0:
        cc.epoch = now
        if cc.w_max < cc.cwnd:
            cc.w_max = cc.cwnd
        cc.k = cbrt((cc.w_max - cc.cwnd) / cc.segment / SCALE)
        cc.w_est = cc.cwnd
    t = now - cc.epoch + srtt
    target = cc.w_max + SCALE * cc.segment * (t - cc.k) * (t - cc.k) * (t - cc.k)
    if target > 1.5 * cc.cwnd:
        target = 1.5 * cc.cwnd
    cc.w_est += 0.529 * cc.segment * size / cc.cwnd         # 3 (1 - beta) / (1 + beta): RFC 9438, section 4.3
    if target < cc.w_est:
        target = cc.w_est
    if target > cc.cwnd:
        cc.cwnd += (target - cc.cwnd) * size / cc.cwnd


cdef void congestion_rtt(congestion_t* cc, double rtt, uint64_t acked, uint64_t next_number) noexcept nogil:
    """HyStart: leave slow start when a round's smallest RTT has risen by an eighth (4 to 16 ms)."""
    cdef double rise
    if cc.cwnd >= cc.ssthresh:
        return
    if acked >= cc.round_end:
        cc.last_round_min = cc.round_min
        cc.round_min = FOREVER
        cc.round_samples = 0
        cc.round_end = next_number
    if rtt < cc.round_min:
        cc.round_min = rtt
    cc.round_samples += 1
    if cc.round_samples < ROUND_SAMPLES or cc.last_round_min >= FOREVER:
        return
    rise = cc.last_round_min / 8
    rise = 0.004 if rise < 0.004 else (0.016 if rise > 0.016 else rise)
    if cc.round_min >= cc.last_round_min + rise:
        cc.ssthresh = cc.cwnd


cdef void congestion_lost(congestion_t* cc, double sent, double now) noexcept nogil:
    """A packet sent at that time is lost (or was CE-marked): one reduction per window."""
    if sent <= cc.recovery:
        return
    cc.recovery = now
    cc.epoch = 0.0
    # Fast convergence (RFC 9438, section 4.7): a flow that shrinks leaves room for others.
    cc.w_max = cc.cwnd * (1.0 + BETA) / 2 if cc.cwnd < cc.w_max else cc.cwnd
    cc.cwnd *= BETA
    if cc.cwnd < MINIMUM_PACKETS * cc.segment:
        cc.cwnd = MINIMUM_PACKETS * cc.segment
    cc.ssthresh = cc.cwnd


cdef void congestion_persistent(congestion_t* cc) noexcept nogil:
    """Persistent congestion (RFC 9002, section 7.6): the smallest window, slow start to where it was."""
    cc.cwnd = MINIMUM_PACKETS * cc.segment
    cc.epoch = 0.0


cdef void congestion_set_rate(congestion_t* cc, double srtt) noexcept nogil:
    """Pace at the window per RTT, faster while it is still growing (RFC 9002, section 7.7)."""
    cc.rate = cc.cwnd / srtt * (2.0 if cc.cwnd < cc.ssthresh else 1.25)


cdef uint32_t pacing_quantum(const congestion_t* cc) noexcept nogil:
    """Bytes one burst may have: a millisecond of the rate, at least two packets, at most one GSO send."""
    cdef double quantum = BURST_BYTES if cc.rate == 0.0 else cc.rate * 0.001
    if quantum < 2 * cc.segment:
        return 2 * cc.segment
    return BURST_BYTES if quantum > BURST_BYTES else <uint32_t>quantum


cdef bint pacing_allows(const congestion_t* cc, double now) noexcept nogil:
    return cc.rate == 0.0 or cc.pace <= now


cdef void pacing_sent(congestion_t* cc, uint32_t size, double now) noexcept nogil:
    """Account a sent packet; time not used earlier is worth one quantum at most."""
    cdef double earliest
    if cc.rate == 0.0:
        return
    earliest = now - pacing_quantum(cc) / cc.rate
    if cc.pace < earliest:
        cc.pace = earliest
    cc.pace += size / cc.rate
