# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The flows of one queue, found by a hash of addresses, protocol and ports.

A flow stays known while it is idle: its path, its rate and its numbers are those of its next packets.
"""
from libc.stdlib cimport calloc, free
from mqvpn.dataplane.flow cimport NEVER, STAMPED
from mqvpn.dataplane.headers cimport headers_read, headers_t, load16

cdef enum:
    BUCKETS_FIRST = 16
    BUCKETS_MOST = 2048
    FLOWS_MOST = 4096

cdef double IDLE = 60.0             # a flow that sent nothing this long is forgotten


cdef inline uint64_t mix(uint64_t h, uint64_t value) noexcept nogil:
    h = (h ^ value) * <uint64_t>0x9e3779b97f4a7c15
    return h ^ (h >> 29)


cdef uint64_t flow_key(const uint8_t* p, uint32_t length) noexcept nogil:
    """Hash of addresses, protocol and, but for fragments, ports, of a packet with a whole IP header."""
    cdef headers_t headers
    cdef uint64_t h = p[0] >> 4
    cdef uint32_t i, at = 12 if h == 4 else 8, size = 8 if h == 4 else 32
    for i in range(at, at + size, 2):
        h = mix(h, load16(p + i))
    if not headers_read(p, length, &headers):
        return h
    h = mix(h, headers.protocol)
    if not headers.fragment and headers.protocol in (6, 17) and headers.length > headers.ip_length:
        h = mix(h, <uint64_t>load16(p + headers.ip_length) << 16 | load16(p + headers.ip_length + 2))
    return h


cdef bint resize(queue_t* queue, uint32_t count) noexcept nogil:
    cdef flow_t** buckets = <flow_t**>calloc(count, sizeof(flow_t*))
    cdef flow_t* flow
    cdef flow_t* following
    cdef uint32_t i
    if buckets == NULL:
        return False
    for i in range(queue.bucket_count):
        flow = queue.buckets[i]
        while flow != NULL:
            following = flow.chain
            flow.chain = buckets[flow.key & (count - 1)]
            buckets[flow.key & (count - 1)] = flow
            flow = following
    free(queue.buckets)
    queue.buckets = buckets
    queue.bucket_count = count
    return True


cdef void sweep(queue_t* queue, double now) noexcept nogil:
    """Forget flows that have been idle for long."""
    cdef flow_t** link
    cdef flow_t* flow
    cdef uint32_t i
    for i in range(queue.bucket_count):
        link = &queue.buckets[i]
        while link[0] != NULL:
            flow = link[0]
            if flow.head == NULL and now - flow.last_sent > IDLE:
                link[0] = flow.chain
                free(flow)
                queue.flow_count -= 1
            else:
                link = &flow.chain


cdef flow_t* flow_make(queue_t* queue, uint64_t key, double now) noexcept nogil:
    """A flow of this key, which has none yet; a full table makes flows share. NULL: no memory."""
    cdef flow_t* flow
    cdef uint32_t i
    if queue.flow_count >= queue.bucket_count and queue.bucket_count < BUCKETS_MOST:
        if not resize(queue, queue.bucket_count * 2 if queue.bucket_count else BUCKETS_FIRST):
            return NULL
    i = key & (queue.bucket_count - 1)
    if queue.flow_count >= FLOWS_MOST and queue.buckets[i] != NULL:
        flow = queue.buckets[i]
        if flow.stamps == STAMPED:
            flow.spread = False
        flow.stamps = NEVER         # a sequence is of one flow alone
        return flow
    flow = <flow_t*>calloc(1, sizeof(flow_t))
    if flow == NULL:
        return NULL
    flow.key = key
    flow.slot = -1
    flow.window = now
    flow.chain = queue.buckets[i]
    queue.buckets[i] = flow
    queue.flow_count += 1
    return flow


cdef bint flows_shrink(queue_t* queue, double now) noexcept nogil:
    """Forget flows that have been idle for long, and halve a table that is mostly empty; whether some is left."""
    sweep(queue, now)
    if queue.bucket_count > BUCKETS_FIRST and 4 * queue.flow_count <= queue.bucket_count:
        resize(queue, queue.bucket_count // 2)
    return queue.flow_count > 0 or queue.bucket_count > BUCKETS_FIRST


cdef void flows_clear(queue_t* queue) noexcept nogil:
    """Forget all flows; none has packets."""
    cdef flow_t* flow
    cdef flow_t* following
    cdef uint32_t i
    for i in range(queue.bucket_count):
        flow = queue.buckets[i]
        while flow != NULL:
            following = flow.chain
            free(flow)
            flow = following
    free(queue.buckets)
    queue.buckets = NULL
    queue.bucket_count = queue.flow_count = 0
