# Congestion control and pacing of one path.
from libc.stdint cimport uint32_t, uint64_t

cdef struct congestion_t:
    double cwnd                     # bytes
    double ssthresh
    double w_max                    # CUBIC: the window before the last reduction, bytes
    double k                        # CUBIC: seconds from the epoch's start to w_max again
    double w_est                    # what Reno would have
    double epoch                    # when this growth began; 0: not yet
    double recovery                 # packets sent before this belong to a loss already answered
    double round_min                # HyStart: smallest RTT of this round, and of the one before
    double last_round_min
    uint64_t round_end              # HyStart: packet number that ends the round
    uint32_t round_samples
    uint32_t segment                # bytes of a full packet
    double pace                     # when the next burst may leave
    double rate                     # pacing rate, bytes per second; 0: not paced yet

cdef void congestion_reset(congestion_t* cc, uint32_t segment) noexcept nogil
cdef void congestion_acked(congestion_t* cc, uint32_t size, double sent, bint limited, double srtt,
                           double now) noexcept nogil
cdef void congestion_rtt(congestion_t* cc, double rtt, uint64_t acked, uint64_t next_number) noexcept nogil
cdef void congestion_lost(congestion_t* cc, double sent, double now) noexcept nogil
cdef void congestion_persistent(congestion_t* cc) noexcept nogil
cdef void congestion_set_rate(congestion_t* cc, double srtt) noexcept nogil
cdef uint32_t pacing_quantum(const congestion_t* cc) noexcept nogil
cdef bint pacing_allows(const congestion_t* cc, double now) noexcept nogil
cdef void pacing_sent(congestion_t* cc, uint32_t size, double now) noexcept nogil
