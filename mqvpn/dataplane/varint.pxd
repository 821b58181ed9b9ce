# Variable-length integers (RFC 9000, section 16).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef inline uint32_t put_varint(uint8_t* out, uint64_t value) noexcept nogil:
    """Write value in its shortest form; bytes written."""
    if value < 0x40:
        out[0] = <uint8_t>value
        return 1
    if value < 0x4000:
        out[0] = <uint8_t>(0x40 | (value >> 8))
        out[1] = <uint8_t>value
        return 2
    cdef int i
    if value < 0x40000000:
        for i in range(4):
            out[i] = <uint8_t>(value >> (24 - 8 * i))
        out[0] |= 0x80
        return 4
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))
    out[0] |= 0xc0
    return 8

cdef inline const uint8_t* get_varint(const uint8_t* at, const uint8_t* end, uint64_t* value) noexcept nogil:
    """Read a value; where it ends, NULL when the bytes are too few (or at is NULL)."""
    cdef int i, n
    cdef uint64_t v
    if at == NULL or at >= end:
        return NULL
    n = 1 << (at[0] >> 6)
    if end - at < n:
        return NULL
    v = at[0] & 0x3f
    for i in range(1, n):
        v = v << 8 | at[i]
    value[0] = v
    return at + n
