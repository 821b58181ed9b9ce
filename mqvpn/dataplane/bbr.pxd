# BBR version 3: its model of the path, and what follows from it.
from libc.stdint cimport uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport congestion_t
from mqvpn.dataplane.rate cimport mark_t, sample_t

cdef void bbr_reset(congestion_t* cc) noexcept nogil
cdef void bbr_idle(congestion_t* cc, double now) noexcept nogil
cdef void bbr_acked(congestion_t* cc, const sample_t* sample) noexcept nogil
cdef void bbr_persistent(congestion_t* cc) noexcept nogil
