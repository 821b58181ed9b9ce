# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Packets as they travel through the data plane, and the two pools they come from.

A packet and its buffer are one allocation, small (2 KB) or large (66 KB, a whole super packet). Freed
packets wait in a list per size, so that the warm loop allocates nothing; nothing is allocated before it is
needed. The pools belong to the one thread that moves packets.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from mqvpn.dataplane.headers cimport headers_read, headers_t

cdef enum:
    SMALL_BYTES = 2048
    LARGE_BYTES = 66 * 1024
    SMALL_SPARE = 1024          # freed packets kept for the next packet_new(): 2 MiB
    LARGE_SPARE = 64            # 4 MiB
    SMALL_LIMIT = 64 * 1024 * 1024 // SMALL_BYTES   # packets alive at a time, of all clients together: 64 MiB each
    LARGE_LIMIT = 64 * 1024 * 1024 // LARGE_BYTES

cdef packet_t* small_spare = NULL
cdef packet_t* large_spare = NULL
cdef int small_spares = 0
cdef int large_spares = 0
cdef int small_alive = 0        # handed out and not yet freed
cdef int large_alive = 0


cdef packet_t* packet_new(uint32_t size) noexcept nogil:
    """Room for `size` bytes, all facts zero. NULL: no memory, too large, or too many packets alive."""
    if size <= SMALL_BYTES:
        return new_small() if small_alive < SMALL_LIMIT else NULL
    if size <= LARGE_BYTES and large_alive < LARGE_LIMIT:
        return new_large()
    return NULL


cdef int packets_left(bint small) noexcept nogil:
    """How many more packets of this size may wait for something: a batch can always be read beside them."""
    return (SMALL_LIMIT - small_alive if small else LARGE_LIMIT - large_alive) - BATCH_PACKETS


cdef packet_t* new_small() noexcept nogil:
    global small_spare, small_spares, small_alive
    cdef packet_t* packet = small_spare
    if packet == NULL:
        packet = <packet_t*>malloc(sizeof(packet_t) + SMALL_BYTES)
        if packet == NULL:
            return NULL
    else:
        small_spare = packet.next
        small_spares -= 1
    small_alive += 1
    packet_reset(packet)
    packet.small = 1
    return packet


cdef packet_t* new_large() noexcept nogil:
    global large_spare, large_spares, large_alive
    cdef packet_t* packet = large_spare
    if packet == NULL:
        packet = <packet_t*>malloc(sizeof(packet_t) + LARGE_BYTES)
        if packet == NULL:
            return NULL
    else:
        large_spare = packet.next
        large_spares -= 1
    large_alive += 1
    packet_reset(packet)
    return packet


cdef inline void packet_reset(packet_t* packet) noexcept nogil:
    memset(packet, 0, sizeof(packet_t))
    packet.data = <uint8_t*>packet + sizeof(packet_t)


cdef void packet_free(packet_t* packet) noexcept nogil:
    global small_spare, small_spares, small_alive, large_spare, large_spares, large_alive
    if packet.small:
        small_alive -= 1
        if small_spares == SMALL_SPARE:
            free(packet)
            return
        packet.next = small_spare
        small_spare = packet
        small_spares += 1
        return
    large_alive -= 1
    if large_spares == LARGE_SPARE:
        free(packet)
        return
    packet.next = large_spare
    large_spare = packet
    large_spares += 1


cdef bint packet_describe(packet_t* packet, uint16_t gso_size) noexcept nogil:
    """Fill in the facts from the headers at packet.data; False if this is no whole IP packet.

    The length field of a super packet is not looked at: every segment gets its own.
    """
    cdef headers_t headers
    if not headers_read(packet.data, packet.length, &headers):
        return False
    if gso_size == 0:
        if headers.total > packet.length:
            return False
        packet.length = headers.total
    packet.gso_size = gso_size
    packet.version = headers.version
    packet.protocol = headers.protocol
    packet.ip_header_length = headers.ip_length
    packet.header_length = headers.length
    return True


cdef class PacketBatch:
    """Packets read from the TUN in one turn."""

    def __dealloc__(self) -> None:
        batch_free(self)

    def __len__(self) -> int:
        return self.count

    def clear(self) -> None:
        """Free what nobody has taken."""
        batch_free(self)

    def append(self, bytes packet not None, uint16_t gso_size = 0) -> None:
        """Add a copy of an IP packet or, with gso_size, of a super packet. ValueError: not IP, full."""
        cdef packet_t* copy
        if self.count == BATCH_PACKETS:
            raise ValueError(f"a batch holds {BATCH_PACKETS} packets")
        if len(packet) > LARGE_BYTES:
            raise ValueError("larger than any IP packet")
        copy = packet_new(<uint32_t>len(packet))
        if copy == NULL:
            raise MemoryError
        copy.length = <uint32_t>len(packet)
        memcpy(copy.data, <const uint8_t*>packet, copy.length)
        if not packet_describe(copy, gso_size) or (gso_size and copy.header_length == copy.ip_header_length):
            packet_free(copy)
            raise ValueError("not a whole IP packet, or no TCP or UDP super packet")
        self.items[self.count] = copy
        self.count += 1


cdef void batch_free(PacketBatch batch) noexcept:
    cdef int i
    for i in range(batch.count):
        packet_free(batch.items[i])
    batch.count = 0


cdef class PacketRefs:
    """IP packets that lie in a receive batch, to be written to the TUN before the batch is used again."""

    def __cinit__(self) -> None:
        self.items = <packet_ref_t*>calloc(REFS_PACKETS, sizeof(packet_ref_t))
        if self.items == NULL:
            raise MemoryError
        self.capacity = REFS_PACKETS
        self.kept = []

    def __dealloc__(self) -> None:
        free(self.items)

    def __len__(self) -> int:
        return self.count

    cpdef void clear(self) noexcept:
        """Forget all packets."""
        self.count = 0
        if self.kept:
            self.kept.clear()

    def append(self, bytes packet not None) -> None:
        """Add a packet, which stays alive until clear(). ValueError: full."""
        if self.count == self.capacity:
            raise ValueError(f"at most {self.capacity} packets")
        self.kept.append(packet)
        self.items[self.count].data = <uint8_t*>packet
        self.items[self.count].length = <uint32_t>len(packet)
        self.count += 1

    def packets(self) -> list[bytes]:
        """Copies of all packets."""
        cdef int i
        return [<bytes>self.items[i].data[:self.items[i].length] for i in range(self.count)]
