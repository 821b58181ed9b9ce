# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""BBR version 3 (draft-ietf-ccwg-bbr): send at the path's measured rate, keep about one round trip of it in flight.

STARTUP doubles until the rate stands still or losses are high; DRAIN takes back the queue that made. Then cycles of
DOWN, CRUISE, REFILL, UP: every two to three seconds (or as many rounds as a Reno flow would need to grow as much) a
little more is sent to see whether there is more. PROBE_RTT empties the path when its RTT was not seen for five seconds.
The model is bbrmodel's; here are the states, and the pacing rate and window that follow from them.
"""
from libc.math cimport INFINITY
from libc.string cimport memset
from mqvpn.dataplane.bbrmodel cimport *
from mqvpn.dataplane.congestion cimport (
    ACKS_INIT, ACKS_PROBE_FEEDBACK, ACKS_PROBE_STARTING, ACKS_PROBE_STOPPING, ACKS_REFILLING,
    CRUISE, DOWN, DRAIN, MINIMUM_PACKETS, PROBE_RTT, REFILL, STARTUP, UP, bbr_state, bbr_t, initial_window)

cdef enum:
    FULL_ROUNDS = 3                 # rounds without growth: the rate is found
    RENO_ROUNDS = 63                # rounds between probes, at most

cdef double STARTUP_GAIN = 2.77     # 4 ln 2: doubles the rate each round
cdef double DRAIN_GAIN = 0.5
cdef double GROWTH = 1.25           # what counts as growth of the rate
cdef double MARGIN = 0.99           # pace a little below the rate, so that queues drain
cdef double HEADROOM = 0.85         # of inflight_hi, left by CRUISE to others
cdef double PROBE_WAIT = 1.0        # seconds, and up to half as much more; the draft's two to three are slow for radio
cdef double PROBE_WAIT_ROUNDS = 4.0
cdef double PROBE_RTT_TIME = 0.2    # seconds; on shorter paths PROBE_RTT_ROUNDS
cdef double PROBE_RTT_ROUNDS = 50.0

cdef uint32_t instances = 0         # so that connections that begin together do not probe together


cdef void bbr_reset(congestion_t* cc) noexcept nogil:
    """Nothing is known: initial window, not paced until an RTT is known."""
    global instances
    cdef bbr_t* b = &cc.bbr
    memset(b, 0, sizeof(bbr_t))
    instances += 1
    b.random = instances * 2654435761u + 1
    cc.cwnd = initial_window(cc)
    b.inflight_hi = b.inflight_lo = b.bw_lo = INFINITY
    b.ecn_alpha = 1.0
    enter(b, STARTUP)


cdef void enter(bbr_t* b, bbr_state state) noexcept nogil:
    b.state = state
    b.cwnd_gain = 2.0
    b.pacing_gain = 1.0
    if state == STARTUP:
        b.pacing_gain = STARTUP_GAIN
    elif state == DRAIN:
        b.pacing_gain = DRAIN_GAIN
    elif state == DOWN:
        b.pacing_gain = 0.9
    elif state == UP:
        b.pacing_gain = 1.25
        b.cwnd_gain = 2.25
    elif state == PROBE_RTT:
        b.cwnd_gain = 0.5


cdef void bbr_acked(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """One acknowledgement: the model first, then the state, then rate and window (draft, section 4.2.3)."""
    cdef bbr_t* b = &cc.bbr
    cdef bint expired
    bbr_round(b, sample)
    bbr_signals(cc, sample)
    bbr_aggregation(cc, sample)
    b.window_limited = sample.prior_in_flight + 2 * cc.segment + cc.rate * 0.001 >= cc.cwnd
    check_full(b, sample)
    if b.state == STARTUP and b.full_bw_reached:
        enter(b, DRAIN)
    if b.state == DRAIN and sample.in_flight <= bbr_bdp(b, b.max_bw, 1.0) + cc.rate * 0.001:
        start_down(b, sample)
    if b.full_bw_reached:
        cycle(cc, sample)
    expired = bbr_rtt(b, sample)
    check_probe_rtt(cc, sample, expired)
    bbr_next_signals(b, sample)
    b.bw = b.max_bw if b.max_bw < b.bw_lo else b.bw_lo
    cc.holding = b.state == PROBE_RTT
    set_rate(cc, sample)
    set_cwnd(cc, sample)


cdef void set_rate(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """Until the path's rate is known, at least the initial window per round trip: what a handshake and some keep-alives
    were delivered at tells nothing of it, and the first flow would queue behind its own first flight."""
    cdef bbr_t* b = &cc.bbr
    cdef double rate = b.pacing_gain * b.bw * MARGIN, least
    if b.full_bw_reached:
        cc.rate = rate
        return
    least = STARTUP_GAIN * initial_window(cc) / sample.srtt if sample.srtt > 0.0 else 0.0
    rate = rate if rate > least else least
    cc.rate = rate if rate > cc.rate else cc.rate


cdef void set_cwnd(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """Grow towards what the state wants in flight; the bounds of the model cap it."""
    cdef bbr_t* b = &cc.bbr
    cdef double want = bbr_bdp(b, b.bw, b.cwnd_gain) + bbr_headroom(cc), cap = INFINITY, most
    if b.state == UP:
        want += 2 * cc.segment
    if b.full_bw_reached:
        cc.cwnd = cc.cwnd + sample.acked if cc.cwnd + sample.acked < want else want
    elif cc.cwnd < want or sample.delivered < initial_window(cc):
        cc.cwnd += sample.acked
    if b.state == PROBE_RTT:
        most = bbr_bdp(b, b.bw, b.cwnd_gain)
        cap = HEADROOM * b.inflight_hi
        cap = most if most < cap else cap
    elif b.state == CRUISE:
        cap = HEADROOM * b.inflight_hi
    elif b.state == DOWN or b.state == REFILL or b.state == UP:
        cap = b.inflight_hi
    cap = b.inflight_lo if b.inflight_lo < cap else cap
    cc.cwnd = cc.cwnd if cc.cwnd < cap else cap
    cc.cwnd = cc.cwnd if cc.cwnd > bbr_floor(cc) else bbr_floor(cc)


# STARTUP.

cdef void reset_full(bbr_t* b, double bw) noexcept nogil:
    b.full_bw = bw
    b.full_bw_rounds = 0
    b.full_bw_now = False


cdef void check_full(bbr_t* b, const sample_t* sample) noexcept nogil:
    """Has the rate stopped to grow? Only rounds that could have shown more count. In STARTUP one round is enough when
    it lost too much (draft, section 4.3.1.3); while the rate still grows, loss is taken for the medium's."""
    cdef double bdp
    if b.full_bw_now or not b.round_start or bbr_unfilled(b, sample):
        return
    if b.max_bw >= b.full_bw * GROWTH:
        reset_full(b, b.max_bw)
        return
    b.full_bw_rounds += 1
    if b.state == STARTUP and b.lossy:
        bdp = bbr_bdp(b, b.max_bw, 1.0)
        b.inflight_hi = bdp if bdp > b.inflight_latest else b.inflight_latest
        b.full_bw_rounds = FULL_ROUNDS
    b.full_bw_now = b.full_bw_rounds >= FULL_ROUNDS
    b.full_bw_reached = b.full_bw_reached or b.full_bw_now


# The cycle of ProbeBW.

cdef double draw(bbr_t* b) noexcept nogil:
    """0 to 1 (xorshift)."""
    b.random ^= b.random << 13
    b.random ^= b.random >> 17
    b.random ^= b.random << 5
    return b.random / 4294967296.0


cdef void start_down(bbr_t* b, const sample_t* sample) noexcept nogil:
    bbr_clear_signals(b)
    b.probe_rounds = 1 if draw(b) < 0.5 else 0
    b.probe_wait = PROBE_WAIT * (1.0 + 0.5 * draw(b))
    if b.probe_wait < PROBE_WAIT_ROUNDS * b.min_rtt:
        b.probe_wait = PROBE_WAIT_ROUNDS * b.min_rtt
    b.cycle_at = sample.now
    b.acks = ACKS_PROBE_STOPPING
    bbr_start_round(b, sample)
    enter(b, DOWN)


cdef void start_refill(bbr_t* b, const sample_t* sample) noexcept nogil:
    b.inflight_lo = b.bw_lo = INFINITY
    b.up_rounds = 0
    b.acks = ACKS_REFILLING
    bbr_start_round(b, sample)
    enter(b, REFILL)


cdef void start_up(bbr_t* b, const sample_t* sample) noexcept nogil:
    b.acks = ACKS_PROBE_STARTING
    bbr_start_round(b, sample)
    reset_full(b, b.max_bw)
    b.cycle_at = sample.now
    enter(b, UP)


cdef bint time_to_probe(const congestion_t* cc, const sample_t* sample) noexcept nogil:
    cdef const bbr_t* b = &cc.bbr
    cdef double packets = bbr_bdp(b, b.bw, 1.0) / cc.segment
    return sample.now > b.cycle_at + b.probe_wait or b.probe_rounds >= (
        packets if packets < RENO_ROUNDS else RENO_ROUNDS)


cdef void cycle(congestion_t* cc, const sample_t* sample) noexcept nogil:
    cdef bbr_t* b = &cc.bbr
    cdef double room
    adapt_model(cc, sample)
    if b.state == DOWN or b.state == CRUISE:
        if time_to_probe(cc, sample):
            start_refill(b, sample)
            return
        room = bbr_bdp(b, b.bw, 1.0) + cc.rate * 0.001
        room = room if room < HEADROOM * b.inflight_hi else HEADROOM * b.inflight_hi
        if b.state == DOWN and sample.in_flight <= (room if room > bbr_floor(cc) else bbr_floor(cc)):
            enter(b, CRUISE)
    elif b.state == REFILL:
        if b.round_start:
            b.probing = True
            start_up(b, sample)
    elif b.state == UP:
        if b.window_limited and cc.cwnd >= b.inflight_hi:
            reset_full(b, b.max_bw)             # held back by an old bound: no plateau
        elif b.full_bw_now:
            b.probe_end = True
        if b.probe_end:
            start_down(b, sample)
    b.probe_end = False


cdef void adapt_model(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """The long-term bounds: raised by probes that found no harm, lowered by those that did."""
    cdef bbr_t* b = &cc.bbr
    if b.round_start and b.acks == ACKS_PROBE_STARTING:
        b.acks = ACKS_PROBE_FEEDBACK
    elif b.round_start and b.acks == ACKS_PROBE_STOPPING:
        b.acks = ACKS_INIT
        b.probing = False
        if not sample.limited:
            bbr_advance_bw(b)
    if bbr_too_lossy(cc, sample.lost_since, sample.tx_in_flight) or b.inflight_hi == INFINITY:
        return
    if sample.tx_in_flight > b.inflight_hi:
        b.inflight_hi = sample.tx_in_flight
    if b.state == UP and b.window_limited and cc.cwnd >= b.inflight_hi:
        # One packet more in the first round, then two, four, ... (draft, section 4.3.3.6)
        b.inflight_hi += <double>sample.acked * cc.segment * (<uint32_t>1 << b.up_rounds) / cc.cwnd
        if b.round_start and b.up_rounds < 30:
            b.up_rounds += 1


# PROBE_RTT, idleness, persistent congestion.

cdef void check_probe_rtt(congestion_t* cc, const sample_t* sample, bint expired) noexcept nogil:
    cdef bbr_t* b = &cc.bbr
    cdef double time = PROBE_RTT_ROUNDS * b.min_rtt, low
    if b.state != PROBE_RTT and expired and not b.idle_restart:
        enter(b, PROBE_RTT)
        b.prior_cwnd = cc.cwnd
        b.probe_rtt_until = 0.0
        b.acks = ACKS_PROBE_STOPPING
        bbr_start_round(b, sample)
    elif b.state == PROBE_RTT:
        low = bbr_bdp(b, b.bw, b.cwnd_gain)
        low = low if low > bbr_floor(cc) else bbr_floor(cc)
        if b.probe_rtt_until == 0.0 and sample.in_flight <= low:
            b.probe_rtt_until = sample.now + (time if time < PROBE_RTT_TIME else PROBE_RTT_TIME)
            b.probe_rtt_round = False
            bbr_start_round(b, sample)
        elif b.probe_rtt_until != 0.0:
            b.probe_rtt_round = b.probe_rtt_round or b.round_start
            if b.probe_rtt_round and sample.now > b.probe_rtt_until:
                leave_probe_rtt(cc, sample)
    b.idle_restart = False


cdef void leave_probe_rtt(congestion_t* cc, const sample_t* sample) noexcept nogil:
    cdef bbr_t* b = &cc.bbr
    b.low_rtt_at = sample.now
    if cc.cwnd < b.prior_cwnd:
        cc.cwnd = b.prior_cwnd
    b.inflight_lo = b.bw_lo = INFINITY
    if b.full_bw_reached:
        start_down(b, sample)
        enter(b, CRUISE)
    else:
        enter(b, STARTUP)


cdef void bbr_idle(congestion_t* cc, double now) noexcept nogil:
    """The first packet after a pause leaves: at the path's rate, neither faster nor slower (draft, section 4.4.3)."""
    cdef bbr_t* b = &cc.bbr
    b.idle_restart = True
    b.extra_since, b.extra_delivered = now, 0.0
    if b.full_bw_reached and b.bw > 0.0:
        cc.rate = b.bw * MARGIN
    if b.state == PROBE_RTT and b.probe_rtt_until == 0.0:
        b.probe_rtt_until = now


cdef void bbr_persistent(congestion_t* cc) noexcept nogil:
    """Persistent congestion (RFC 9002, section 7.6): the smallest window; the model stays and lets it grow again."""
    cc.cwnd = MINIMUM_PACKETS * cc.segment
