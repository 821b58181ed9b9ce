# Fair queueing with CoDel: the packets that wait for one connection, by flow.
from libc.stdint cimport int32_t, int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.packet cimport packet_t

cdef enum:
    SLOTS = 16                      # PATHS of state.pxd, which needs this file
    QUANTUM_LEAST = 16384           # bytes a flow may send before it is the next one's turn
    QUANTUM_MOST = 65536            # a super packet, on fast paths: sent whole, it stays one at the receiver

cdef enum stamping:
    UNDECIDED = 0
    NEVER = 1
    STAMPED = 2

cdef struct flow_t:
    flow_t* chain                   # next in its hash bucket
    flow_t* before                  # round of flows that have packets
    flow_t* after
    packet_t* head
    packet_t* tail
    uint64_t key                    # hash of addresses, protocol and ports
    uint32_t packets                # waiting, and how many of them occupy a large buffer
    uint32_t large
    uint64_t bytes
    double last_sent                # 0: never
    double placed                   # when the scheduler last chose its path
    double window                   # start of the current rate window, and bytes sent in it
    double rate                     # bytes per second, of the windows before
    uint32_t volume
    int32_t deficit                 # bytes left of its quantum
    uint64_t turn                   # the round in which it may use that, plus one; 0: none yet
    int8_t slot                     # path slot it is pinned to; -1: none
    uint8_t spread                  # it uses several paths at once, under this number and counting
    uint16_t number
    double settled                  # spread: until then only its own path, lest it overtakes what left there unnumbered
    uint64_t sequence               # of its next packet: spread, or stamped
    stamping stamps                 # whether its packets are stamped (stamps.pyx), if the peer takes that
    # CoDel (RFC 8289)
    double first_above
    double drop_next
    uint32_t drops
    bint dropping

cdef struct queue_t:
    flow_t** buckets                # NULL until the first packet
    uint32_t bucket_count
    uint32_t flow_count
    flow_t* first                   # whose turn it is
    flow_t* front                   # what queue_sent() or join() left as the first
    flow_t* newest                  # last of those at the front that were empty before; NULL: none is there
    uint64_t rounds[SLOTS + 1]      # by path slot (first: none): a fast path's rounds say nothing of a slow one's
    uint32_t active                 # flows in the round
    uint64_t bytes                  # IP bytes waiting
    uint32_t packets
    uint32_t large                  # of them, in large buffers
    uint32_t quantum                # see queue_pace()
    queue_t* following              # in the list of all queues
    queue_t** link                  # what points to this one there; NULL: it is not in it

cdef int queue_add(queue_t* queue, packet_t* packet, uint64_t* drops) noexcept nogil
cdef packet_t* queue_head(queue_t* queue, flow_t* flow, double target, double now, uint64_t* drops) noexcept nogil
cdef void queue_sent(queue_t* queue, flow_t* flow, uint32_t size, double now) noexcept nogil
cdef void queue_pop(queue_t* queue, flow_t* flow) noexcept nogil
cdef void queue_pace(queue_t* queue, double rate) noexcept nogil
cdef void queue_clear(queue_t* queue) noexcept nogil
