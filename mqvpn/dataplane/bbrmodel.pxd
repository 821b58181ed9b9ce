# BBR's model of the path: rate, round trip, aggregation, and the bounds that loss and CE marks set.
from libc.stdint cimport uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport bbr_t, congestion_t
from mqvpn.dataplane.rate cimport mark_t, sample_t

cdef double bbr_bdp(const bbr_t* b, double bw, double gain) noexcept nogil
cdef double bbr_headroom(const congestion_t* cc) noexcept nogil
cdef double bbr_floor(const congestion_t* cc) noexcept nogil
cdef void bbr_round(bbr_t* b, const sample_t* sample) noexcept nogil
cdef void bbr_start_round(bbr_t* b, const sample_t* sample) noexcept nogil
cdef void bbr_signals(congestion_t* cc, const sample_t* sample) noexcept nogil
cdef bint bbr_unfilled(const bbr_t* b, const sample_t* sample) noexcept nogil
cdef void bbr_next_signals(bbr_t* b, const sample_t* sample) noexcept nogil
cdef void bbr_clear_signals(bbr_t* b) noexcept nogil
cdef void bbr_aggregation(congestion_t* cc, const sample_t* sample) noexcept nogil
cdef bint bbr_rtt(bbr_t* b, const sample_t* sample) noexcept nogil
cdef void bbr_advance_bw(bbr_t* b) noexcept nogil
cdef bint bbr_too_lossy(const congestion_t* cc, double lost, double in_flight) noexcept nogil
cdef void bbr_lost(congestion_t* cc, const mark_t* mark, uint32_t size, uint64_t lost) noexcept nogil
cdef void bbr_marked(congestion_t* cc, uint64_t marked) noexcept nogil
cdef void bbr_too_high(congestion_t* cc, double in_flight, bint limited) noexcept nogil
cdef void bbr_undo(congestion_t* cc) noexcept nogil
