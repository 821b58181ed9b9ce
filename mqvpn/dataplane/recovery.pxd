# Sent packets of one path: acknowledgement, RTT, loss.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport congestion_t
from mqvpn.dataplane.reorder cimport reorder_t
from mqvpn.dataplane.rate cimport mark_t, rate_t, sample_t

cdef enum:
    RING_FIRST = 64
    RING_MOST = 65536

cdef enum sent_state:
    SENT_NONE = 0                   # lost, given up or skipped
    SENT_FLYING = 1                 # ack-eliciting and in flight
    SENT_QUIET = 2                  # not ack-eliciting
    SENT_ACKED = 3

cdef enum sent_kind:
    ACK_ONLY = 0                    # not ack-eliciting
    CONTROL_ONLY = 1                # frames for Python, probes
    BULK = 2                        # IP packets
    MTU_PROBE = 3                   # its loss is no sign of congestion (RFC 9000, section 14.4)
    ELSEWHERE = 4                   # to another address than the path's, so nothing of its window

cdef enum:
    LARGE = 1200                    # bytes, which every path takes: packets above tell whether its MTU still holds

cdef struct sent_t:
    double time
    mark_t mark                     # for the rate sample
    uint32_t token                  # control frames: told to Python when acked or lost; 0: none
    uint16_t size                   # 0: sent to an address that is not, or no more, the path's
    uint8_t state
    uint8_t probe                   # MTU_PROBE or ELSEWHERE
    uint64_t kept                   # where its payload is kept to be sent again; 0: nowhere

cdef struct recovery_t:
    sent_t* ring
    uint32_t capacity               # a power of two
    uint64_t base                   # oldest packet number not yet done with
    uint64_t next                   # next packet number
    uint64_t first                  # oldest packet number sent to the present address
    uint64_t skip_at                # the number that will not be used
    uint64_t skipped[2]             # the last ones not used
    uint32_t skip_span
    uint64_t seed
    uint64_t largest_acked          # valid when acked_any
    bint acked_any
    uint32_t flying                 # ack-eliciting packets in flight
    uint64_t in_flight              # bytes
    double last_eliciting           # when the last ack-eliciting packet left
    double last_acked               # when an ack last brought news
    double latest, srtt, rttvar, min_rtt
    double peer_delay               # the peer's max_ack_delay
    double loss_time                # 0: none
    double sampled_at               # when the first RTT sample was taken; 0: none yet
    double run                      # when the first of the lost packets left since which none was acked; 0: none
    uint32_t pto_count
    rate_t sampler
    sample_t sample                 # of the acknowledgement in hand
    double rate                     # delivery rate, bytes per second; windowed maximum
    double rate_at
    uint64_t acked_packets, lost_packets
    uint64_t lost_datagrams
    uint32_t large_lost             # packets of more than LARGE bytes lost in a row, though smaller ones came through
    uint32_t large_size             # bytes of the smallest of them
    uint64_t large_first            # the first of them
    reorder_t reorder
    congestion_t cc

ctypedef void (*token_f)(void* owner, uint32_t token, bint acked) noexcept nogil

cdef int recovery_reset(recovery_t* r, uint32_t segment, uint64_t seed) noexcept nogil
cdef void recovery_clear(recovery_t* r) noexcept nogil
cdef void recovery_restart(recovery_t* r, uint32_t segment) noexcept nogil
cdef bint recovery_shrink(recovery_t* r) noexcept nogil
cdef bint recovery_takes(recovery_t* r) noexcept nogil
cdef bint recovery_sent(recovery_t* r, uint16_t size, sent_kind kind, uint32_t token, double now) noexcept nogil
cdef int recovery_acked(recovery_t* r, uint64_t low, uint64_t high, double now, token_f tell,
                        void* owner) noexcept nogil
cdef bint recovery_small_only(const recovery_t* r) noexcept nogil
cdef double recovery_timed(const recovery_t* r, uint64_t low, uint64_t high) noexcept nogil
cdef void recovery_sample(recovery_t* r, double rtt, double ack_delay, double now) noexcept nogil
cdef void recovery_marked(recovery_t* r, uint64_t packets, double now) noexcept nogil
cdef int recovery_detect(recovery_t* r, double now, token_f tell, void* owner) noexcept nogil
cdef inline uint64_t recovery_oldest_news(const recovery_t* r) noexcept nogil:
    """Acknowledgements of packets below this number tell nothing new."""
    return r.reorder.lost[0].number if r.reorder.count and r.reorder.lost[0].number < r.base else r.base

cdef int recovery_give_up(recovery_t* r, bint all_packets, token_f tell, void* owner) noexcept nogil
cdef double recovery_pto(const recovery_t* r) noexcept nogil
cdef double recovery_oldest(const recovery_t* r) noexcept nogil
