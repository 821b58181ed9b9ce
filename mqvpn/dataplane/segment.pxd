# Super packets cut into segments (TSO4, TSO6, USO), each written straight into its place.
from libc.stdint cimport uint8_t, uint32_t
from mqvpn.dataplane.packet cimport packet_t

cdef uint32_t segment_length(const packet_t* packet) noexcept nogil
cdef uint32_t segment_write(packet_t* packet, uint8_t* out) noexcept nogil
cdef bint segment_done(const packet_t* packet) noexcept nogil
