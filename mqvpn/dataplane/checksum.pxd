# The Internet checksum (RFC 1071) over 16-bit words as they lie in memory; a folded sum is stored as is.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t total) noexcept nogil
cdef uint64_t checksum_copy(uint8_t* out, const uint8_t* data, size_t length, uint64_t total) noexcept nogil
cdef uint64_t checksum_pseudo(const uint8_t* ip, uint8_t protocol, uint32_t length) noexcept nogil
cdef uint16_t checksum_fold(uint64_t total) noexcept nogil
cdef void checksum_store(uint8_t* at, uint64_t total) noexcept nogil    # ~fold, and never 0 (RFC 768)
cdef void checksum_ipv4(uint8_t* ip, uint32_t header_length) noexcept nogil    # of the header, in place
