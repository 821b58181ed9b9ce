# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Received packet numbers of one path: duplicate check and the PATH_ACK frame made from them.

RFC 9000, sections 12.3 (no packet is processed twice), 13.2.3 (ranges are bounded) and 19.3.2 (ECN counts);
draft-ietf-quic-multipath, section 4.1 (PATH_ACK).
"""
from libc.string cimport memmove
from mqvpn.dataplane.ecn cimport CE, ECT_0, ECT_1
from mqvpn.dataplane.varint cimport put_varint


cdef bint ranges_has(const ranges_t* ranges, uint64_t number) noexcept nogil:
    """True when the number was received before, or is too old to tell."""
    cdef int i
    if number < ranges.floor:
        return True
    for i in range(ranges.count):
        if number > ranges.items[i].high:
            return False
        if number >= ranges.items[i].low:
            return True
    return False


cdef inline void insert(ranges_t* ranges, int at, uint64_t number) noexcept nogil:
    if ranges.count == RANGES:
        if at == RANGES:
            ranges.floor = number + 1
            return
        ranges.floor = ranges.items[RANGES - 1].high + 1
        ranges.count -= 1
    memmove(&ranges.items[at + 1], &ranges.items[at], (ranges.count - at) * sizeof(range_t))
    ranges.items[at].low = number
    ranges.items[at].high = number
    ranges.count += 1


cdef bint ranges_add(ranges_t* ranges, uint64_t number) noexcept nogil:
    """Remember a number; False when it is a duplicate."""
    cdef int i = 0
    cdef range_t* items = ranges.items
    if number < ranges.floor:
        return False
    if ranges.count and number == items[0].high + 1:
        items[0].high = number
        return True
    while i < ranges.count and number < items[i].low:
        i += 1                                      # items[i] is the first range that begins at or below it
    if i < ranges.count and number <= items[i].high:
        return False
    if i < ranges.count and number == items[i].high + 1:
        items[i].high = number
        if i and items[i - 1].low == number + 1:    # it closed the gap
            items[i - 1].low = items[i].low
            memmove(&items[i], &items[i + 1], (ranges.count - i - 1) * sizeof(range_t))
            ranges.count -= 1
        return True
    if i and items[i - 1].low == number + 1:
        items[i - 1].low = number
        return True
    insert(ranges, i, number)
    return True


cdef uint32_t ranges_write_ack(const ranges_t* ranges, uint8_t* out, uint32_t path_id, uint64_t delay,
                               bint multipath, const uint64_t* ecn) noexcept nogil:
    """Write a PATH_ACK or ACK frame (at most ACK_BYTES); its length, 0 with nothing to say. ecn: packets received by
    mark; told once there is any."""
    cdef int i, count
    cdef uint32_t n = 0
    cdef bint marked = (ecn[ECT_0] | ecn[ECT_1] | ecn[CE]) != 0
    if ranges.count == 0:
        return 0
    count = ranges.count if ranges.count < ACKED_RANGES else ACKED_RANGES
    n += put_varint(out + n, (0x3e if multipath else 0x02) + (1 if marked else 0))
    if multipath:
        n += put_varint(out + n, path_id)
    n += put_varint(out + n, ranges.items[0].high)
    n += put_varint(out + n, delay)
    n += put_varint(out + n, count - 1)
    n += put_varint(out + n, ranges.items[0].high - ranges.items[0].low)
    for i in range(1, count):
        n += put_varint(out + n, ranges.items[i - 1].low - ranges.items[i].high - 2)
        n += put_varint(out + n, ranges.items[i].high - ranges.items[i].low)
    if marked:
        n += put_varint(out + n, ecn[ECT_0])
        n += put_varint(out + n, ecn[ECT_1])
        n += put_varint(out + n, ecn[CE])
    return n
