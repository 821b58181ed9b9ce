# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The deadlines of all connections, in a heap: a server of thousands of idle clients finds the first one at once.

Connections are known by their numbers. A deadline that is set again moves as far as the order demands, most often not
at all: that of a busy connection is the first, and stays it.
"""
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef int deadlines_grow(deadlines_t* d, uint32_t capacity) noexcept nogil:
    """Room for the numbers below `capacity`. -1: no memory, and all is as it was."""
    cdef uint32_t* places
    cdef deadline_t* heap = <deadline_t*>realloc(d.heap, capacity * sizeof(deadline_t))
    if heap == NULL:
        return -1
    d.heap = heap
    places = <uint32_t*>realloc(d.places, capacity * sizeof(uint32_t))
    if places == NULL:
        return -1
    memset(places + d.capacity, 0, (capacity - d.capacity) * sizeof(uint32_t))
    d.places, d.capacity = places, capacity
    return 0


cdef void deadlines_clear(deadlines_t* d) noexcept nogil:
    free(d.heap)
    free(d.places)
    memset(d, 0, sizeof(deadlines_t))


cdef inline void put(deadlines_t* d, uint32_t at, deadline_t item) noexcept nogil:
    d.heap[at] = item
    d.places[item.number] = at + 1


cdef void rise(deadlines_t* d, uint32_t at, deadline_t item) noexcept nogil:
    """Put the item where `at` is, or above."""
    cdef uint32_t above
    while at:
        above = (at - 1) // 2
        if d.heap[above].at <= item.at:
            break
        put(d, at, d.heap[above])
        at = above
    put(d, at, item)


cdef void sink(deadlines_t* d, uint32_t at, deadline_t item) noexcept nogil:
    """Put the item where `at` is, or below."""
    cdef uint32_t below
    while True:
        below = 2 * at + 1
        if below >= d.count:
            break
        if below + 1 < d.count and d.heap[below + 1].at < d.heap[below].at:
            below += 1
        if d.heap[below].at >= item.at:
            break
        put(d, at, d.heap[below])
        at = below
    put(d, at, item)


cdef void settle(deadlines_t* d, uint32_t at, deadline_t item) noexcept nogil:
    """Put the item where the order wants it, into the hole at `at` or from there on."""
    if at and item.at < d.heap[(at - 1) // 2].at:
        rise(d, at, item)
    else:
        sink(d, at, item)


cdef void deadline_set(deadlines_t* d, uint32_t number, double at) noexcept nogil:
    """Seconds of the caller's clock; 0.0: none any more."""
    cdef uint32_t place = d.places[number]
    cdef deadline_t item
    item.at, item.number = at, number
    if at != 0.0 and place:
        settle(d, place - 1, item)
    elif at != 0.0:
        d.count += 1
        rise(d, d.count - 1, item)
    elif place:
        d.places[number] = 0
        d.count -= 1
        if place - 1 < d.count:
            settle(d, place - 1, d.heap[d.count])


cdef double deadline_of(const deadlines_t* d, uint32_t number) noexcept nogil:
    """0.0: none."""
    return d.heap[d.places[number] - 1].at if d.places[number] else 0.0


cdef double deadline_first(const deadlines_t* d) noexcept nogil:
    """The earliest of all; 0.0: there is none."""
    return d.heap[0].at if d.count else 0.0


cdef class Deadlines:
    """The same for Python; `capacity`: numbers are below it."""
    cdef deadlines_t deadlines

    def __cinit__(self, uint32_t capacity) -> None:
        if deadlines_grow(&self.deadlines, capacity) != 0:
            raise MemoryError

    def __dealloc__(self) -> None:
        deadlines_clear(&self.deadlines)

    def grow(self, uint32_t capacity) -> None:
        """Room for more numbers."""
        if deadlines_grow(&self.deadlines, capacity) != 0:
            raise MemoryError

    def set(self, uint32_t number, double at) -> None:
        deadline_set(&self.deadlines, self.known(number), at)

    def of(self, uint32_t number) -> float:
        return deadline_of(&self.deadlines, self.known(number))

    def first(self) -> float:
        return deadline_first(&self.deadlines)

    def heap(self) -> list[tuple[float, int]]:
        """Deadlines and numbers as they stand: an entry at i has those at 2 i + 1 and 2 i + 2 below it."""
        cdef uint32_t i
        return [(self.deadlines.heap[i].at, self.deadlines.heap[i].number) for i in range(self.deadlines.count)]

    cdef uint32_t known(self, uint32_t number) except? 0:
        if number >= self.deadlines.capacity:
            raise IndexError(number)
        return number
