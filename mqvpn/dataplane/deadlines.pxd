# Which connection's deadline comes first.
from libc.stdint cimport uint32_t

cdef struct deadline_t:
    double at
    uint32_t number

cdef struct deadlines_t:            # a heap: no entry is later than the two below it
    deadline_t* heap
    uint32_t* places                # by number: one more than where it stands in the heap; 0: it has no deadline
    uint32_t count, capacity

cdef int deadlines_grow(deadlines_t* d, uint32_t capacity) noexcept nogil
cdef void deadlines_clear(deadlines_t* d) noexcept nogil
cdef void deadline_set(deadlines_t* d, uint32_t number, double at) noexcept nogil
cdef double deadline_of(const deadlines_t* d, uint32_t number) noexcept nogil
cdef double deadline_first(const deadlines_t* d) noexcept nogil
