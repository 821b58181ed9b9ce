# ECN of one path: marks that came, marks sent, and whether the path carries them.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    NOT_ECT = 0                     # RFC 3168, section 5
    ECT_1 = 1
    ECT_0 = 2
    CE = 3

cdef enum ecn_state:                # RFC 9000, appendix A.4
    ECN_TESTING = 0                 # the first packets are marked
    ECN_UNKNOWN = 1                 # they are sent; no verdict yet
    ECN_CAPABLE = 2
    ECN_FAILED = 3

cdef struct ecn_t:
    uint64_t received[4]            # packets by mark
    uint64_t told[4]                # by mark, as the peer reported last
    uint64_t marked                 # packets sent with ECT(0)
    uint64_t test_first             # of the numbers in [first, end) the marked ones are those of the test
    uint64_t test_end
    uint64_t capable_first          # from here on all are marked
    uint64_t before                 # `marked` when the test began
    double test_until
    ecn_state state

cdef void ecn_reset(ecn_t* e, uint64_t number) noexcept nogil
cdef void ecn_silent(ecn_t* e, uint64_t number) noexcept nogil
cdef void ecn_answers(ecn_t* e, uint64_t number, double now) noexcept nogil
cdef uint32_t ecn_mark(ecn_t* e, uint64_t number, double now, double pto) noexcept nogil
cdef uint32_t ecn_share(const ecn_t* e, uint64_t low, uint64_t high, uint32_t news) noexcept nogil
cdef bint ecn_validate(ecn_t* e, const uint64_t* counts, uint32_t acked, uint64_t next_number) noexcept nogil
