# Congestion control and pacing of one path: the interface, and what each algorithm keeps.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from mqvpn.dataplane.rate cimport mark_t, sample_t

cdef enum:
    INITIAL_PACKETS = 32
    MINIMUM_PACKETS = 4             # a path that carries GSO bursts and acks of its own never stops dead

cdef enum congestion_kind:
    CUBIC = 0
    BBR = 1
    NONE = 2

cdef struct cubic_t:
    double ssthresh
    double w_max                    # the window before the last reduction, bytes
    double k                        # seconds from the epoch's start to w_max again
    double w_est                    # what Reno would have
    double epoch                    # when this growth began; 0: not yet
    double recovery                 # packets sent before this belong to a loss already answered
    double round_min                # HyStart: smallest RTT of this round, and of the one before
    double last_round_min
    uint64_t round_end              # HyStart: packet number that ends the round
    uint32_t round_samples
    double undo_cwnd                # before the last reduction; 0: nothing to undo
    double undo_ssthresh
    double undo_w_max

cdef enum bbr_state:
    STARTUP
    DRAIN
    DOWN                            # ProbeBW: take back what the last probe queued
    CRUISE                          # ProbeBW: steady, with headroom for others
    REFILL                          # ProbeBW: fill the path without queue
    UP                              # ProbeBW: is there more?
    PROBE_RTT

cdef enum bbr_acks:                 # what the acks that come in now belong to
    ACKS_INIT
    ACKS_REFILLING
    ACKS_PROBE_STARTING
    ACKS_PROBE_FEEDBACK
    ACKS_PROBE_STOPPING

cdef struct bbr_t:
    bbr_state state
    bbr_acks acks
    double pacing_gain, cwnd_gain
    uint32_t random
    # Rounds: a round ends when a packet is acked that left after the round began.
    uint64_t round_end              # bytes delivered
    uint64_t rounds
    bint round_start
    # The path as far as it is known; rates in bytes per second, volumes in bytes.
    double max_bw
    double bw_window[2]             # maximum of this probing cycle and of the one before
    double bw                       # max_bw, bounded by bw_lo
    double min_rtt, min_rtt_at      # over MIN_RTT_WINDOW
    double low_rtt, low_rtt_at      # over PROBE_RTT_INTERVAL: tells when the path must be drained to see min_rtt
    double extra_acked              # aggregation: how much comes back at once beyond the rate
    double extra_window[2]
    uint64_t extra_round
    double extra_since
    double extra_delivered
    # Bounds that loss and CE marks set: for long (hi), until the next probe (lo).
    double inflight_hi, inflight_lo, bw_lo
    double undo_hi, undo_lo, undo_bw_lo
    # The round in which losses are counted, and the best delivery seen in it.
    uint64_t loss_round_end
    bint loss_round_start
    double bw_latest, inflight_latest
    double round_acked, round_lost, round_ce
    double round_rtt, round_high    # smallest and largest RTT of the round
    double past_rtt                 # smallest of the one before
    double loss_floor               # share that the medium loses whatever is sent
    bint lossy                      # the last round lost too much
    double ecn_alpha
    uint32_t slow_rounds            # rounds in a row that delivered much less than was sent, and the best of them
    double slow_bw
    # Startup and probing.
    bint full_bw_reached            # once: the path's rate is known
    bint full_bw_now                # since the last reset: three rounds without growth
    double full_bw
    uint32_t full_bw_rounds
    bint probing                    # what comes back is the answer to a probe
    double cycle_at                 # when the phase began
    double probe_wait               # seconds until the next probe
    uint32_t probe_rounds           # rounds since the last one
    uint32_t up_rounds
    bint window_limited             # the window, not the source or the pacing, held the sender back
    bint probe_end                  # UP found the limit
    # ProbeRTT.
    double probe_rtt_until
    bint probe_rtt_round
    bint idle_restart
    double prior_cwnd

cdef struct congestion_t:
    congestion_kind kind
    uint32_t segment                # bytes of a full packet
    double cwnd                     # bytes
    double pace                     # when the next burst may leave
    double rate                     # pacing rate, bytes per second; 0: not paced (yet)
    double burst_at                 # when the last burst began, and how far it may move `pace`
    double burst_end
    bint holding                    # less is sent than the path takes, on purpose: samples tell nothing
    cubic_t cubic
    bbr_t bbr

cdef inline double initial_window(const congestion_t* cc) noexcept nogil:
    """Bytes; jumbo frames do not make the first burst larger."""
    return INITIAL_PACKETS * (cc.segment if cc.segment < 1500 else 1500)

cdef void congestion_reset(congestion_t* cc, uint32_t segment) noexcept nogil
cdef void congestion_choose(congestion_t* cc, congestion_kind kind) noexcept nogil
cdef void congestion_idle(congestion_t* cc, double now) noexcept nogil
cdef void congestion_acked(congestion_t* cc, const sample_t* sample) noexcept nogil
cdef void congestion_lost(congestion_t* cc, const mark_t* mark, uint32_t size, double sent, uint64_t lost,
                          double now) noexcept nogil
cdef void congestion_marked(congestion_t* cc, uint64_t marked, double sent, double now) noexcept nogil
cdef void congestion_undo(congestion_t* cc) noexcept nogil
cdef void congestion_persistent(congestion_t* cc) noexcept nogil
cdef double congestion_capacity(const congestion_t* cc, double rtt, double delivered) noexcept nogil
cdef bint congestion_unexplored(const congestion_t* cc) noexcept nogil
cdef uint32_t pacing_quantum(const congestion_t* cc) noexcept nogil
cdef bint pacing_allows(const congestion_t* cc, double now) noexcept nogil
cdef int64_t pacing_room(const congestion_t* cc, uint64_t in_flight, double now) noexcept nogil
cdef bint pacing_idle(const congestion_t* cc, double now) noexcept nogil
cdef void pacing_sent(congestion_t* cc, uint32_t size, double now) noexcept nogil
