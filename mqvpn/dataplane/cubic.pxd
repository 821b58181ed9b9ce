# CUBIC.
from libc.stdint cimport uint32_t
from mqvpn.dataplane.congestion cimport congestion_t
from mqvpn.dataplane.rate cimport sample_t

cdef void cubic_reset(congestion_t* cc) noexcept nogil
cdef void cubic_acked(congestion_t* cc, const sample_t* sample) noexcept nogil
cdef void cubic_lost(congestion_t* cc, double sent, double now) noexcept nogil
cdef void cubic_undo(congestion_t* cc) noexcept nogil
cdef void cubic_persistent(congestion_t* cc) noexcept nogil
