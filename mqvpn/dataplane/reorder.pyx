# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Packets that were declared lost and are acknowledged after all: they were late, not lost.

The thresholds of RFC 9002, section 6.1, then grow as its section 6.1.1 allows: the packet threshold to the distance
seen, the time threshold up to two RTTs. When every loss that made the window shrink turns out to be none, the
reduction is undone, as RFC 4015 does for TCP.
"""
from libc.string cimport memmove, memset
from mqvpn.dataplane.congestion cimport congestion_undo

cdef enum:
    PACKETS_FIRST = 3               # RFC 9002, section 6.1.1: kPacketThreshold
    PACKETS_MOST = 128

cdef double SPREAD_FIRST = 0.125    # RFC 9002, section 6.1.2: kTimeThreshold is 9/8
cdef double SPREAD_MOST = 1.0       # as RFC 8985, section 6.2, bounds its reordering window


cdef void reorder_reset(reorder_t* o) noexcept nogil:
    memset(o, 0, sizeof(reorder_t))
    o.packets = PACKETS_FIRST
    o.spread = SPREAD_FIRST


cdef void reorder_reduce(reorder_t* o, double sent, double now) noexcept nogil:
    """Congestion control is about to hear of a packet sent at that time that is lost or was marked: the first one of
    a window begins an episode (RFC 9002, section 7.3.2)."""
    if sent > o.episode:
        o.episode = now
        o.owed = 0
        o.raised = o.final = False


cdef void reorder_lost(reorder_t* o, uint64_t number, bint by_time, double now, double pto) noexcept nogil:
    """A packet is declared lost; its acknowledgement is expected within two PTOs if it was not."""
    if o.count == LOSSES:
        o.count = LOSSES // 2
        memmove(o.lost, o.lost + LOSSES // 2, (LOSSES // 2) * sizeof(lost_t))
    o.lost[o.count].number = number
    o.lost[o.count].by_time = by_time
    o.lost[o.count].at = now
    o.count += 1
    o.until = now + 2 * pto
    o.owed += 1


cdef void raise_thresholds(reorder_t* o, const lost_t* lost, uint64_t largest) noexcept nogil:
    cdef uint64_t distance = largest - lost.number + 1 if largest > lost.number else 0
    if not lost.by_time and distance > o.packets:
        o.packets = <uint32_t>distance if distance < PACKETS_MOST else PACKETS_MOST
    if lost.by_time and not o.raised:
        o.raised = True
        o.spread = 2 * o.spread if 2 * o.spread < SPREAD_MOST else SPREAD_MOST


cdef void undo(reorder_t* o, congestion_t* cc) noexcept nogil:
    """Nothing was lost: the window is again what it was (RFC 4015, section 3.4)."""
    congestion_undo(cc)
    o.episode = 0.0


cdef void reorder_acked(reorder_t* o, congestion_t* cc, uint64_t low, uint64_t high, uint64_t largest,
                        double now) noexcept nogil:
    """[low, high] is acknowledged; largest was the largest acknowledged number before."""
    cdef uint32_t first, last = o.count, i
    cdef bint back = False
    if now > o.until:
        o.count = 0
        return
    while last and o.lost[last - 1].number > high:
        last -= 1
    first = last
    while first and o.lost[first - 1].number >= low:
        first -= 1
    for i in range(first, last):
        o.spurious += 1
        raise_thresholds(o, &o.lost[i], largest)
        if o.lost[i].at >= o.episode and o.owed:
            o.owed -= 1
            back = o.owed == 0
    if first < last:
        memmove(o.lost + first, o.lost + last, (o.count - last) * sizeof(lost_t))
        o.count -= last - first
    if back and not o.final and o.episode != 0.0:
        undo(o, cc)
