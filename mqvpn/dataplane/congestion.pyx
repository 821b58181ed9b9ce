# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Congestion control and pacing of one path: one interface, three algorithms behind it.

`cubic` and `bbr` are modules of their own; `none` has no window and no pacing, for links whose rate somebody else
sees to. Recovery tells what was delivered (once an acknowledgement), lost and CE-marked; the rest of the engine looks
at `cwnd` and asks the pacing. A burst is a millisecond of the rate, at least two packets and at most one GSO send, or
a quarter of a millisecond where that is more.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from mqvpn.dataplane.bbr cimport bbr_acked, bbr_idle, bbr_persistent, bbr_reset
from mqvpn.dataplane.bbrmodel cimport bbr_lost, bbr_marked, bbr_undo
from mqvpn.dataplane.cubic cimport cubic_acked, cubic_lost, cubic_persistent, cubic_reset, cubic_undo

cdef enum:
    BURST_BYTES = 65000
    WINDOW_SHARE = 8                # of the window, that is worth a burst of its own

cdef double SHORTEST = 0.00025          # seconds that a path with more to send waits for
cdef double NO_WINDOW = 1e15
cdef double FOREVER = 1e30


cdef void congestion_reset(congestion_t* cc, uint32_t segment) noexcept nogil:
    """Start anew with the same algorithm: initial window, not paced until an RTT is known."""
    cdef congestion_kind kind = cc.kind
    memset(cc, 0, sizeof(congestion_t))
    cc.segment = segment
    congestion_choose(cc, kind)


cdef void congestion_choose(congestion_t* cc, congestion_kind kind) noexcept nogil:
    """Start anew with this algorithm."""
    cc.kind = kind
    cc.rate = cc.pace = cc.burst_at = cc.burst_end = 0.0
    cc.holding = False
    if kind == CUBIC:
        cubic_reset(cc)
    elif kind == BBR:
        bbr_reset(cc)
    else:
        cc.cwnd = NO_WINDOW


cdef void congestion_idle(congestion_t* cc, double now) noexcept nogil:
    """A packet leaves and none is in flight."""
    if cc.kind == BBR:
        bbr_idle(cc, now)


cdef void congestion_acked(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """One acknowledgement was worked off, its losses included; it delivered something."""
    if cc.kind == CUBIC:
        cubic_acked(cc, sample)
    elif cc.kind == BBR:
        bbr_acked(cc, sample)


cdef void congestion_lost(congestion_t* cc, const mark_t* mark, uint32_t size, double sent, uint64_t lost,
                          double now) noexcept nogil:
    """A packet of size bytes, sent at that time, is lost; `lost`: bytes in the path's life, this packet included."""
    if cc.kind == CUBIC:
        cubic_lost(cc, sent, now)
    elif cc.kind == BBR:
        bbr_lost(cc, mark, size, lost)


cdef void congestion_marked(congestion_t* cc, uint64_t marked, double sent, double now) noexcept nogil:
    """The peer saw CE on `marked` more bytes; the newest packet it acknowledged left at `sent` (RFC 9002, section 7.1).
    To be told before congestion_acked()."""
    if cc.kind == CUBIC:
        cubic_lost(cc, sent, now)
    elif cc.kind == BBR:
        bbr_marked(cc, marked)


cdef void congestion_undo(congestion_t* cc) noexcept nogil:
    """The last losses were none: their packets were acknowledged after all."""
    if cc.kind == CUBIC:
        cubic_undo(cc)
    elif cc.kind == BBR:
        bbr_undo(cc)


cdef void congestion_persistent(congestion_t* cc) noexcept nogil:
    """Persistent congestion (RFC 9002, section 7.6)."""
    if cc.kind == CUBIC:
        cubic_persistent(cc)
    elif cc.kind == BBR:
        bbr_persistent(cc)


# What schedulers ask.

cdef double congestion_capacity(const congestion_t* cc, double rtt, double delivered) noexcept nogil:
    """Bytes per second that the path may carry; rtt: its smoothed RTT, delivered: the best rate seen lately. CUBIC's
    window per RTT may promise more (the window that slow start aims at, if a failure made it small)."""
    cdef double promise = 0.0
    if cc.kind == CUBIC:
        promise = cc.cwnd
        if promise < cc.cubic.ssthresh < FOREVER:
            promise = cc.cubic.ssthresh
        promise /= rtt
    elif cc.kind == BBR:
        promise = cc.bbr.bw if cc.bbr.full_bw_reached else cc.cwnd / rtt
    return promise if promise > delivered else delivered


cdef bint congestion_unexplored(const congestion_t* cc) noexcept nogil:
    """Still in its first slow start: nobody knows yet what the path can carry."""
    if cc.kind == CUBIC:
        return cc.cubic.ssthresh >= FOREVER
    return cc.kind == BBR and not cc.bbr.full_bw_reached


# Pacing.

cdef uint32_t pacing_quantum(const congestion_t* cc) noexcept nogil:
    """Bytes one burst may have (the packet that crosses the limit still leaves). From 2 Gbit/s on it is more than one
    GSO send: what waits for a tenth of a millisecond only is woken too late, by the timer's slack."""
    cdef double most = BURST_BYTES - cc.segment, quantum = most if cc.rate == 0.0 else cc.rate * 0.001
    if most < cc.rate * SHORTEST:
        most = cc.rate * SHORTEST
    if quantum < 2 * cc.segment:
        return 2 * cc.segment
    return <uint32_t>(most if quantum > most else quantum)


cdef bint pacing_allows(const congestion_t* cc, double now) noexcept nogil:
    """Whether a packet may leave now: its time has come, or it belongs to a burst that began at this instant. A burst
    leaves at once and then the path waits: packets that leave each at its own time cost a system call each."""
    return cc.rate == 0.0 or cc.pace <= now or (cc.burst_at == now and cc.pace < cc.burst_end)


cdef int64_t pacing_room(const congestion_t* cc, uint64_t in_flight, double now) noexcept nogil:
    """Bytes that window and pacing let the path take now; none while the window holds less than a burst and acks that
    will make room for a whole one are on their way."""
    cdef int64_t room = <int64_t>cc.cwnd - <int64_t>in_flight, least = pacing_quantum(cc)
    if least > <int64_t>cc.cwnd // WINDOW_SHARE:
        least = <int64_t>cc.cwnd // WINDOW_SHARE
    if least <= 2 * cc.segment:             # a slow path, whose small window must not lie idle to spare system calls
        least = cc.segment
    return room if room >= least and pacing_allows(cc, now) else 0


cdef bint pacing_idle(const congestion_t* cc, double now) noexcept nogil:
    """Time has passed that pacing left free and nobody used: more than a burst makes good."""
    return cc.rate == 0.0 or cc.pace < now - pacing_quantum(cc) / cc.rate


cdef void pacing_sent(congestion_t* cc, uint32_t size, double now) noexcept nogil:
    """Account a sent packet; time not used earlier is worth one quantum at most."""
    cdef double quantum
    if cc.rate == 0.0:
        return
    if cc.pace <= now:
        quantum = pacing_quantum(cc) / cc.rate
        if cc.pace < now - quantum:
            cc.pace = now - quantum
        if cc.burst_at != now or cc.pace >= cc.burst_end:
            cc.burst_at = now
            cc.burst_end = cc.pace + quantum
    cc.pace += size / cc.rate
