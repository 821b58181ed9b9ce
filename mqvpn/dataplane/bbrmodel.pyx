# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""BBR's model of the path (draft-ietf-ccwg-bbr, section 4.5): how fast, how long, how bursty, and how much is too much.

Rate: the largest delivery rate of this probing cycle and the one before. Round trip: the smallest of ten seconds.
Losses above LOSS_THRESHOLD of a flight bound the volume in flight: for long (`inflight_hi`) while the path is probed,
else until the next probe (`bw_lo`, `inflight_lo`). Below the threshold loss is taken for noise of the medium: a radio
link that loses 1 % must not be left empty for it. But what a round loses that also saw a queue, beyond what the medium
is known for, bounds until the next probe, or who has more of a shallow buffer keeps it. CE marks bound the same way,
weighed by their share.
"""
from libc.math cimport INFINITY

from mqvpn.dataplane.congestion cimport (
    CRUISE, DOWN, MINIMUM_PACKETS, REFILL, STARTUP, UP)

cdef double BETA = 0.7                  # what is left of a bound after loss
cdef double LOSS_THRESHOLD = 0.02
cdef uint32_t LOSS_NOISE = 2            # packets: fewer than this tell nothing of a rate of loss
cdef double FLOOR_GAIN = 0.125          # weight of a round in the loss that the medium is known for
cdef double FLOOR_MOST = 0.1
cdef double QUIET = 1.125               # RTT up to this many times the smallest: no queue
cdef double QUEUED = 1.25               # and from so many times on there is one
cdef double SLOWER = 0.6
cdef uint32_t SLOW_ROUNDS = 5
cdef double ECN_GAIN = 0.0625           # weight of a round's share of CE marks
cdef double ECN_FACTOR = 0.3333         # how far marks on every packet cut the bounds
cdef double ECN_THRESHOLD = 0.5         # share of marks that ends a probe
cdef double MIN_RTT_WINDOW = 10.0
cdef double PROBE_RTT_INTERVAL = 5.0
cdef uint64_t EXTRA_ROUNDS = 5          # half of the window of the aggregation's maximum
cdef double TURNS = 0.002               # two busy turns of the daemons' loops, seconds


cdef double bbr_bdp(const bbr_t* b, double bw, double gain) noexcept nogil:
    """Bytes in flight that fill the path at this rate, times gain; without bound while no RTT is known."""
    return gain * bw * b.min_rtt if b.min_rtt > 0.0 else INFINITY


cdef double bbr_headroom(const congestion_t* cc) noexcept nogil:
    """What may be in flight beyond the model because it moves in bursts: GSO sends, receive batches, one ack for each.
    On a LAN that is more than the path itself holds."""
    return cc.bbr.extra_acked + cc.bbr.bw * TURNS


cdef double bbr_floor(const congestion_t* cc) noexcept nogil:
    return MINIMUM_PACKETS * cc.segment


# Rounds.

cdef void bbr_start_round(bbr_t* b, const sample_t* sample) noexcept nogil:
    b.round_end = sample.delivered


cdef void bbr_round(bbr_t* b, const sample_t* sample) noexcept nogil:
    b.round_start = sample.prior_delivered >= b.round_end
    if b.round_start:
        bbr_start_round(b, sample)
        b.rounds += 1
        b.probe_rounds += 1


# Rate, and the bounds of a round without probing.

cdef void bbr_signals(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """Take in the sample; once a round, answer the losses and marks of it."""
    cdef bbr_t* b = &cc.bbr
    cdef double volume = sample.delivered - sample.prior_delivered
    b.bw_latest = sample.rate if sample.rate > b.bw_latest else b.bw_latest
    b.inflight_latest = volume if volume > b.inflight_latest else b.inflight_latest
    b.round_acked += sample.acked
    if sample.rtt > 0.0 and (b.round_rtt == 0.0 or sample.rtt < b.round_rtt):
        b.round_rtt = sample.rtt
    b.round_high = sample.rtt if sample.rtt > b.round_high else b.round_high
    b.loss_round_start = sample.prior_delivered >= b.loss_round_end
    if sample.rate > 0.0 and (sample.rate >= b.max_bw or not sample.limited):
        b.bw_window[0] = sample.rate if sample.rate > b.bw_window[0] else b.bw_window[0]
        b.max_bw = b.bw_window[0] if b.bw_window[0] > b.bw_window[1] else b.bw_window[1]
    if not b.loss_round_start:
        return
    b.loss_round_end = sample.delivered
    adapt_bounds(cc)
    check_slower(b, sample)
    b.past_rtt = b.round_rtt
    b.round_acked = b.round_lost = b.round_ce = b.round_rtt = b.round_high = 0.0


cdef bint bbr_unfilled(const bbr_t* b, const sample_t* sample) noexcept nogil:
    """The sample tells the sender's rate, not the path's: there was too little to send, and the last round saw no
    queue. A path that gets only what others leave is seldom full, and yet may carry all it can."""
    return sample.limited and b.past_rtt <= QUEUED * b.min_rtt + TURNS


cdef void bbr_next_signals(bbr_t* b, const sample_t* sample) noexcept nogil:
    """What is left of the sample for the round that begins with it."""
    if b.loss_round_start:
        b.bw_latest = sample.rate
        b.inflight_latest = sample.delivered - sample.prior_delivered


cdef void bbr_clear_signals(bbr_t* b) noexcept nogil:
    b.round_acked = b.round_lost = b.round_ce = b.round_rtt = b.round_high = 0.0
    b.bw_latest = b.inflight_latest = 0.0


cdef void bbr_advance_bw(bbr_t* b) noexcept nogil:
    """A probe has been answered: what was measured before the last one is forgotten."""
    if b.bw_window[0] == 0.0:
        return
    b.bw_window[1] = b.bw_window[0]
    b.bw_window[0] = 0.0
    b.max_bw = b.bw_window[1]


cdef bint bbr_too_lossy(const congestion_t* cc, double lost, double in_flight) noexcept nogil:
    return lost > (LOSS_THRESHOLD + cc.bbr.loss_floor) * in_flight + LOSS_NOISE * cc.segment


cdef bint crowded(const congestion_t* cc) noexcept nogil:
    """The round saw a queue and lost more than the medium is known for: there are others on the link."""
    cdef const bbr_t* b = &cc.bbr
    return b.round_high >= QUEUED * b.min_rtt + TURNS and (
        b.round_lost > b.loss_floor * (b.round_acked + b.round_lost) + LOSS_NOISE * cc.segment)


cdef void adapt_bounds(congestion_t* cc) noexcept nogil:
    """Once a round: lower the short-term bounds if it lost or marked too much while nothing was probed."""
    cdef bbr_t* b = &cc.bbr
    cdef double share = b.round_ce / b.round_acked if b.round_acked > 0.0 else 0.0
    cdef bint lossy = bbr_too_lossy(cc, b.round_lost, b.round_acked + b.round_lost)
    cdef double cut
    b.lossy = lossy
    lossy = lossy or crowded(cc)
    if b.state == CRUISE and b.round_rtt > 0.0 and b.round_rtt <= QUIET * b.min_rtt + TURNS:
        learn_floor(b)
    b.ecn_alpha += ECN_GAIN * ((share if share < 1.0 else 1.0) - b.ecn_alpha)
    if b.state == STARTUP or b.state == REFILL or b.state == UP:
        return
    if (lossy or share > 0.0) and b.bw_lo == INFINITY:
        b.bw_lo = b.max_bw
    if (lossy or share > 0.0) and b.inflight_lo == INFINITY:
        b.inflight_lo = cc.cwnd
    if share > 0.0:
        b.inflight_lo *= 1.0 - b.ecn_alpha * ECN_FACTOR
    if lossy:
        b.undo_bw_lo, b.undo_lo = b.bw_lo, b.inflight_lo
        cut = BETA * b.bw_lo
        b.bw_lo = b.bw_latest if b.bw_latest > cut else cut
        cut = BETA * b.inflight_lo
        b.inflight_lo = b.inflight_latest if b.inflight_latest > cut else cut


cdef void check_slower(bbr_t* b, const sample_t* sample) noexcept nogil:
    """The path became slower: SLOW_ROUNDS rounds with a standing queue delivered clearly less than is sent. What was
    measured before is forgotten at once; two probing cycles later would be five seconds of full buffers."""
    if (b.state != DOWN and b.state != CRUISE) or sample.limited or b.bw_latest >= SLOWER * b.max_bw or (
            b.round_rtt <= QUEUED * b.min_rtt + TURNS):
        b.slow_rounds = 0
        b.slow_bw = 0.0
        return
    b.slow_rounds += 1
    b.slow_bw = b.bw_latest if b.bw_latest > b.slow_bw else b.slow_bw
    if b.slow_rounds >= SLOW_ROUNDS:
        b.bw_window[0] = b.max_bw = b.slow_bw
        b.bw_window[1] = 0.0
        b.slow_rounds = 0


# Loss.

cdef void learn_floor(bbr_t* b) noexcept nogil:
    """A round at less than the measured rate, and without queue: what it lost anyway is not of our making. A medium
    that loses 5 % would otherwise end every probe, and the rate that is believed would sink with each."""
    cdef double sent = b.round_acked + b.round_lost
    if sent > 0.0:
        b.loss_floor += FLOOR_GAIN * (b.round_lost / sent - b.loss_floor)
        b.loss_floor = b.loss_floor if b.loss_floor < FLOOR_MOST else FLOOR_MOST


cdef void bbr_lost(congestion_t* cc, const mark_t* mark, uint32_t size, uint64_t lost) noexcept nogil:
    """One packet is lost, `lost` bytes in all: a probe that loses too much has gone too far."""
    cdef bbr_t* b = &cc.bbr
    cdef double since = <uint32_t>(<uint32_t>lost - mark.lost)
    b.round_lost += size
    if b.probing and bbr_too_lossy(cc, since, mark.in_flight):
        bbr_too_high(cc, mark.in_flight - size, mark.limited)


cdef void bbr_marked(congestion_t* cc, uint64_t marked) noexcept nogil:
    """Bytes that were CE-marked (RFC 3168, draft-ietf-ccwg-bbr on ECN)."""
    cdef bbr_t* b = &cc.bbr
    b.round_ce += marked
    if b.probing and b.round_ce > ECN_THRESHOLD * b.round_acked + LOSS_NOISE * cc.segment:
        bbr_too_high(cc, b.inflight_latest, False)


cdef void bbr_too_high(congestion_t* cc, double in_flight, bint limited) noexcept nogil:
    """The probe found the path's limit: one answer a probe."""
    cdef bbr_t* b = &cc.bbr
    cdef double least = BETA * bbr_bdp(b, b.bw, 1.0)
    b.probing = False
    if not limited:
        if least > cc.cwnd:
            least = BETA * cc.cwnd
        b.undo_hi = b.inflight_hi
        b.inflight_hi = in_flight if in_flight > least else least
    b.probe_end = b.state == UP


cdef void bbr_undo(congestion_t* cc) noexcept nogil:
    """The last losses were none."""
    cdef bbr_t* b = &cc.bbr
    b.inflight_hi = b.undo_hi if b.undo_hi > b.inflight_hi else b.inflight_hi
    if b.bw_lo != INFINITY and b.undo_bw_lo > b.bw_lo:
        b.bw_lo = b.undo_bw_lo
    if b.inflight_lo != INFINITY and b.undo_lo > b.inflight_lo:
        b.inflight_lo = b.undo_lo


# Aggregation and round trip.

cdef void bbr_aggregation(congestion_t* cc, const sample_t* sample) noexcept nogil:
    """How much more is acknowledged in some time than the rate promises: the maximum of five to ten rounds."""
    cdef bbr_t* b = &cc.bbr
    cdef double expected = b.bw * (sample.now - b.extra_since), extra
    if b.extra_delivered <= expected:
        b.extra_delivered = expected = 0.0
        b.extra_since = sample.now
    b.extra_delivered += sample.acked
    extra = b.extra_delivered - expected
    extra = extra if extra < cc.cwnd else cc.cwnd
    if b.rounds >= b.extra_round + (EXTRA_ROUNDS if b.full_bw_reached else 1):
        b.extra_round = b.rounds
        b.extra_window[1] = b.extra_window[0]
        b.extra_window[0] = 0.0
    b.extra_window[0] = extra if extra > b.extra_window[0] else b.extra_window[0]
    b.extra_acked = b.extra_window[0] if b.extra_window[0] > b.extra_window[1] else b.extra_window[1]


cdef bint bbr_rtt(bbr_t* b, const sample_t* sample) noexcept nogil:
    """Follow the smallest RTT. True: it was not seen for so long that the path should be drained to see it."""
    cdef bint expired = b.low_rtt > 0.0 and sample.now > b.low_rtt_at + PROBE_RTT_INTERVAL
    if sample.rtt > 0.0 and (b.low_rtt == 0.0 or sample.rtt < b.low_rtt or expired):
        b.low_rtt, b.low_rtt_at = sample.rtt, sample.now
    elif 0.0 < sample.rtt <= QUIET * b.low_rtt + TURNS:
        b.low_rtt_at = sample.now               # seen again, as good as: no need to drain the path for it
    if b.low_rtt > 0.0 and (
            b.min_rtt == 0.0 or b.low_rtt < b.min_rtt or sample.now > b.min_rtt_at + MIN_RTT_WINDOW):
        b.min_rtt, b.min_rtt_at = b.low_rtt, b.low_rtt_at
    return expired
