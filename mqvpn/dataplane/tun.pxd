# IP packets from and to the TUN device, in pieces of up to 64 KB.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from mqvpn.dataplane.coalesce cimport group_t
from mqvpn.dataplane.headers cimport headers_t
from mqvpn.dataplane.linux cimport iovec
from mqvpn.dataplane.packet cimport PacketBatch, PacketRefs, packet_t
from mqvpn.dataplane.virtio cimport virtio_t

cdef enum:
    GROUPS = 8                  # flows joined at a time

cdef class Tun:
    cdef int fd
    cdef bint vnet_header
    cdef bint uso
    cdef readonly int failed    # errno once the device is gone, else 0
    cdef packet_t* spare        # a large buffer, read into
    cdef virtio_t virtio
    cdef iovec vectors[2]
    cdef group_t groups[GROUPS]
    cdef uint32_t opened        # groups, so far
    cdef uint64_t bad_offload
    cdef uint64_t not_ip
    cdef uint64_t no_memory
    cdef uint64_t write_drops

    cpdef int read(self, PacketBatch batch, double now, int limit=*)
    cpdef int write(self, PacketRefs refs)
    cdef bint read_next(self) noexcept nogil
    cdef void accept(self, PacketBatch batch) noexcept nogil
    cdef packet_t* exchange(self) noexcept nogil
    cdef void write_one(self, uint8_t* packet, uint32_t size) noexcept nogil
    cdef group_t* find(self, const uint8_t* packet, const headers_t* headers) noexcept nogil
    cdef void open(self, uint8_t* packet, uint32_t size, const headers_t* headers) noexcept nogil
    cdef group_t* oldest(self, bint or_free) noexcept nogil
    cdef void flush_all(self) noexcept nogil
    cdef void flush(self, group_t* group) noexcept nogil
    cdef bint write_alone(self, uint8_t* packet, uint32_t size) noexcept nogil
    cdef bint put(self, const iovec* vectors, int count, uint32_t packets) noexcept nogil
