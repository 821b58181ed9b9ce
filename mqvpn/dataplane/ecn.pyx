# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Explicit congestion notification of one path (RFC 9000, section 13.4 and appendix A.4).

Every path is tested by itself: its first ten packets leave with ECT(0). If the peer's counts fit what it acknowledges,
all packets are marked from then on; counts that do not fit, or none, end it until the path's address changes. Which
packets were marked follows from their numbers, so that nothing is kept for each packet.
"""
cdef enum:
    TEST_PACKETS = 10

cdef uint64_t NEVER = <uint64_t>-1
cdef double PAUSE = 60.0            # seconds from one test to the next


cdef void ecn_reset(ecn_t* e, uint64_t number) noexcept nogil:
    """The path has a new address: packets from `number` on are the test. The counts of both ends go on."""
    e.state = ECN_TESTING
    e.test_first = number
    e.test_end = e.capable_first = NEVER
    e.before = e.marked
    e.test_until = 0.0


cdef uint32_t ecn_mark(ecn_t* e, uint64_t number, double now, double pto) noexcept nogil:
    """The ECN field for the burst that begins with this packet number."""
    if e.state == ECN_CAPABLE:
        return ECT_0
    if e.state != ECN_TESTING:
        return NOT_ECT
    if e.test_until == 0.0:
        e.test_until = now + 3 * pto
    if e.marked - e.before < TEST_PACKETS and now < e.test_until:
        return ECT_0
    e.state = ECN_UNKNOWN
    e.test_end = number
    return NOT_ECT


cdef void ecn_silent(ecn_t* e, uint64_t number) noexcept nogil:
    """The path does not answer: perhaps marked packets are what it loses, so probes leave without."""
    if e.state == ECN_CAPABLE:
        e.test_first = e.capable_first
        e.capable_first = NEVER
    elif e.state != ECN_TESTING:
        return
    e.state = ECN_UNKNOWN
    e.test_end = number


cdef void ecn_answers(ecn_t* e, uint64_t number, double now) noexcept nogil:
    """The path answers again; tests are kept apart, lest one that fails silences it at once again."""
    if e.state == ECN_UNKNOWN and now > e.test_until + PAUSE:
        ecn_reset(e, number)


cdef uint32_t ecn_share(const ecn_t* e, uint64_t low, uint64_t high, uint32_t news) noexcept nogil:
    """How many of the `news` packets newly acknowledged in [low, high] were certainly marked."""
    cdef uint64_t others = 0
    if low >= e.capable_first:
        return news
    if high >= e.capable_first:
        others = e.capable_first - low
    else:
        others = e.test_first - low if low < e.test_first else 0
        if high >= e.test_end:
            others += high + 1 - e.test_end
    return news - <uint32_t>others if others < news else 0


cdef bint fits(const ecn_t* e, const uint64_t* counts, uint32_t acked) noexcept nogil:
    """RFC 9000, section 13.4.2.1: nothing but ECT(0) was sent, every mark that was acknowledged has been seen as it
    was or as CE, and no more than were sent."""
    if counts[ECT_1] or counts[ECT_0] < e.told[ECT_0] or counts[CE] < e.told[CE]:
        return False
    if counts[ECT_0] > e.marked or counts[CE] > e.marked or counts[ECT_0] + counts[CE] > e.marked:
        return False
    return counts[ECT_0] + counts[CE] >= e.told[ECT_0] + e.told[CE] + acked


cdef bint ecn_validate(ecn_t* e, const uint64_t* counts, uint32_t acked, uint64_t next_number) noexcept nogil:
    """An ack that raised the largest number acknowledged `acked` marked packets; counts by mark, NULL: it has none.
    True when the network says that it is congested."""
    cdef bint congested
    if e.state == ECN_FAILED:
        return False
    if counts == NULL:
        if acked:
            e.state = ECN_FAILED
        return False
    if not fits(e, counts, acked):
        e.state = ECN_FAILED
        return False
    congested = counts[CE] > e.told[CE]
    e.told[ECT_0] = counts[ECT_0]
    e.told[CE] = counts[CE]
    if acked and e.state != ECN_CAPABLE:
        e.state = ECN_CAPABLE
        e.capable_first = next_number
        if e.test_end > next_number:
            e.test_end = next_number
    return congested
