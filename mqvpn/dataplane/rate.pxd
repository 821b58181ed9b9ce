# Delivery rate samples of one path.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct mark_t:                 # what was known when a packet left
    float delivered_ago             # seconds since the newest delivery
    float first_ago                 # seconds since the send time of the packet delivered last
    uint32_t delivered              # bytes delivered by then, modulo 2^32
    uint32_t lost                   # bytes lost by then, modulo 2^32
    uint32_t in_flight              # bytes, this packet included
    uint8_t limited                 # the sender had too little to send

cdef struct sample_t:               # what one acknowledgement told
    double now
    double rtt                      # seconds; 0: it brought no RTT sample
    double srtt
    double newest_sent              # when the newest packet it acknowledged left
    uint64_t newest                 # that packet's number
    uint64_t next                   # the next packet number to be sent
    uint64_t acked, lost            # bytes it found delivered, and lost
    uint64_t prior_in_flight        # bytes in flight before it
    uint64_t in_flight              # and after it
    uint64_t delivered              # bytes delivered in the path's life
    uint64_t prior_delivered        # the same when the newest packet left
    uint64_t tx_in_flight           # bytes in flight when the newest packet left
    uint64_t lost_since             # bytes lost since the newest packet left
    double rate                     # delivery rate, bytes per second; 0: no sample
    bint limited                    # the rate is the sender's, not the path's

cdef struct rate_t:
    uint64_t delivered              # bytes
    double delivered_at
    double first_sent               # send time of the packet delivered last
    uint64_t newest                 # one more than the largest number delivered
    uint64_t lost                   # bytes
    uint64_t limited_until          # `delivered` at which the samples are the path's again; 0: they are
    bint starved                    # there was room and nothing to send
    double taken_ago                # newest packet of the sample in hand: its delivered_ago
    double taken_first              # and its first_ago

cdef void rate_sent(rate_t* r, mark_t* mark, uint32_t size, uint64_t in_flight, bint idle, double now) noexcept nogil
cdef void rate_limited(rate_t* r, uint64_t in_flight) noexcept nogil
cdef void rate_acked(rate_t* r, sample_t* sample, const mark_t* mark, uint64_t number, uint32_t size, double sent,
                     double now) noexcept nogil
cdef void rate_finish(rate_t* r, sample_t* sample, double min_rtt, double now) noexcept nogil
