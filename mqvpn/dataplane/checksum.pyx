# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The Internet checksum (RFC 1071), in loops that the compiler turns into vector code.

32-bit words are summed into a 64-bit total: no carry is lost in less than 2^32 words, and the one's
complement sum does not depend on the word size. The total is folded to 16 bits once, at the end.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    typedef uint32_t __attribute__((may_alias, aligned(1))) mqvpn_word;
    """
    ctypedef uint32_t mqvpn_word    # a 32-bit word at any address, whatever was stored there


cdef uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t total) noexcept nogil:
    """Add `length` bytes to a running total; an odd last byte is padded with a zero."""
    cdef const mqvpn_word* words = <const mqvpn_word*>data
    cdef size_t i, count = length // 4
    for i in range(count):
        total += words[i]
    return add_tail(data + 4 * count, length % 4, total)


cdef uint64_t checksum_copy(
    uint8_t* out, const uint8_t* data, size_t length, uint64_t total
) noexcept nogil:
    """checksum_add() of bytes that are copied to `out` in the same pass; the two must not overlap."""
    cdef const mqvpn_word* words = <const mqvpn_word*>data
    cdef mqvpn_word* copies = <mqvpn_word*>out
    cdef size_t i, count = length // 4
    cdef uint32_t word
    for i in range(count):
        word = words[i]
        copies[i] = word
        total += word
    memcpy(out + 4 * count, data + 4 * count, length % 4)
    return add_tail(data + 4 * count, length % 4, total)


cdef inline uint64_t add_tail(const uint8_t* data, size_t length, uint64_t total) noexcept nogil:
    cdef uint32_t word = 0
    if length == 0:
        return total
    memcpy(&word, data, length)
    return total + word


cdef uint64_t checksum_pseudo(const uint8_t* ip, uint8_t protocol, uint32_t length) noexcept nogil:
    """Sum of the pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1); `length` of the transport."""
    cdef uint8_t tail[8]
    tail[0] = <uint8_t>(length >> 24)
    tail[1] = <uint8_t>(length >> 16)
    tail[2] = <uint8_t>(length >> 8)
    tail[3] = <uint8_t>length
    tail[4] = tail[5] = tail[6] = 0
    tail[7] = protocol
    if ip[0] >> 4 == 4:
        return checksum_add(tail, 8, checksum_add(ip + 12, 8, 0))
    return checksum_add(tail, 8, checksum_add(ip + 8, 32, 0))


cdef uint16_t checksum_fold(uint64_t total) noexcept nogil:
    """One's complement sum in 16 bits: 0xffff for data that includes its own right checksum."""
    total = <uint32_t>total + (total >> 32)
    total = <uint32_t>total + (total >> 32)
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    return <uint16_t>total


cdef void checksum_store(uint8_t* at, uint64_t total) noexcept nogil:
    cdef uint16_t value = ~checksum_fold(total)
    if value == 0:
        value = 0xffff
    memcpy(at, &value, 2)


cdef void checksum_ipv4(uint8_t* ip, uint32_t header_length) noexcept nogil:
    ip[10] = ip[11] = 0
    cdef uint16_t value = ~checksum_fold(checksum_add(ip, header_length, 0))
    memcpy(ip + 10, &value, 2)


def internet_checksum(bytes data not None) -> int:
    """The checksum field of these bytes, as a number in network byte order."""
    cdef uint16_t value = ~checksum_fold(checksum_add(data, len(data), 0))
    return int.from_bytes((<uint8_t*>&value)[:2], "big")
