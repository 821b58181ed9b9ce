# Packets declared lost that may be acknowledged after all: loss thresholds that learn, and the undoing of reductions.
from libc.stdint cimport uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport congestion_t

cdef enum:
    LOSSES = 64                     # the latest packets declared lost, remembered

cdef struct lost_t:
    uint64_t number
    double at                       # when it was declared lost
    bint by_time                    # the time threshold decided, not the packet threshold

cdef struct reorder_t:
    uint32_t packets                # packet threshold
    double spread                   # time threshold: this part of an RTT beyond the RTT
    lost_t lost[LOSSES]             # ascending numbers
    uint32_t count
    double until                    # when they are forgotten
    double episode                  # when the window was last reduced: packets sent before belong to that episode
    uint32_t owed                   # lost packets of the episode that were not acknowledged since
    bint final                      # the network itself said that it is congested: nothing to undo
    bint raised                     # the time threshold was raised in this episode
    uint64_t spurious               # packets acknowledged after all

cdef void reorder_reset(reorder_t* o) noexcept nogil
cdef void reorder_reduce(reorder_t* o, double sent, double now) noexcept nogil
cdef void reorder_lost(reorder_t* o, uint64_t number, bint by_time, double now, double pto) noexcept nogil
cdef void reorder_acked(reorder_t* o, congestion_t* cc, uint64_t low, uint64_t high, uint64_t largest,
                        double now) noexcept nogil
