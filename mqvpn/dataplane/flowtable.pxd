# The flows of one queue, by their hash.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.flow cimport flow_t, queue_t

cdef inline flow_t* flow_find(const queue_t* queue, uint64_t key) noexcept nogil:
    """The flow of this key, or NULL."""
    cdef flow_t* flow
    if queue.buckets == NULL:
        return NULL
    flow = queue.buckets[key & (queue.bucket_count - 1)]
    while flow != NULL and flow.key != key:
        flow = flow.chain
    return flow

cdef uint64_t flow_key(const uint8_t* p, uint32_t length) noexcept nogil
cdef flow_t* flow_make(queue_t* queue, uint64_t key, double now) noexcept nogil
cdef bint flows_shrink(queue_t* queue, double now) noexcept nogil
cdef void flows_clear(queue_t* queue) noexcept nogil
