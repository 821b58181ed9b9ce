# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""IP packets from and to the TUN device, in pieces of up to 64 KB (IFF_VNET_HDR).

Reading: virtio header and packet -> the header is checked against the packet -> partial checksum of an
ordinary packet finished -> a small packet moves to a small buffer. Header lengths come from the packet
itself: hdr_len is only a hint. Writing: neighbouring segments of a flow are joined into super packets,
several flows at a time; packets of one flow stay in order and all are written when write() returns. Drops
are counted.
"""

from libc.errno cimport EBADFD, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mqvpn.dataplane.checksum cimport checksum_add, checksum_store
from mqvpn.dataplane.coalesce cimport (
    group_append, group_finish, group_matches, group_open, group_t, mergeable
)
from mqvpn.dataplane.headers cimport PROTOCOL_TCP, headers_read, headers_t
from mqvpn.dataplane.linux cimport iovec, readv, writev
from mqvpn.dataplane.packet cimport (
    BATCH_PACKETS, PacketBatch, PacketRefs, packet_describe, packet_free, packet_new, packet_t
)
from mqvpn.dataplane.virtio cimport (
    VIRTIO_GSO_ECN, VIRTIO_GSO_NONE, VIRTIO_GSO_TCPV4, VIRTIO_GSO_TCPV6, VIRTIO_GSO_UDP_L4, VIRTIO_NEEDS_CSUM,
    virtio_t
)

from mqvpn.wire.drop import Drop

cdef enum:
    READ_BYTES = 66000          # more than any packet; needs a large buffer
    ENOUGH = 48 * 1024          # bytes read before they are looked at: more would leave the nearest cache


cdef class Tun:
    """A TUN descriptor, which stays the caller's. `uso`: the kernel takes super packets of UDP."""

    def __cinit__(self, int fd, bint vnet_header = True, bint uso = False) -> None:
        self.fd = fd
        self.vnet_header = vnet_header
        self.uso = uso
        self.spare = packet_new(READ_BYTES)
        if self.spare == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.spare != NULL:
            packet_free(self.spare)

    def drops(self) -> dict[int, int]:
        """Packets given up since the start, by Drop."""
        return {
            int(Drop.BAD_OFFLOAD): self.bad_offload,
            int(Drop.NOT_IP): self.not_ip,
            int(Drop.NO_MEMORY): self.no_memory,
            int(Drop.TUN_WRITE): self.write_drops,
        }

    # Reading

    cpdef int read(self, PacketBatch batch, double now, int limit = 32):
        """Append what the device holds, at most `limit` packets or what is more than ENOUGH; the number of packets."""
        cdef int before = batch.count, _
        cdef uint32_t total = 0
        for _ in range(min(limit, BATCH_PACKETS - before)):
            if total >= ENOUGH or not self.read_next():
                break
            total += self.spare.length
            self.spare.arrived = now
            self.accept(batch)
        return batch.count - before

    cdef bint read_next(self) noexcept nogil:
        """Read one packet into the spare buffer; False: there is none."""
        cdef Py_ssize_t size, header = sizeof(virtio_t) if self.vnet_header else 0
        self.vectors[0].iov_base = &self.virtio
        self.vectors[0].iov_len = header
        self.vectors[1].iov_base = self.spare.data
        self.vectors[1].iov_len = READ_BYTES
        size = readv(self.fd, self.vectors, 2)
        if size <= 0:
            if size < 0 and errno == EBADFD:
                self.failed = EBADFD
            return False
        self.spare.length = <uint32_t>(size - header) if size > header else 0
        return True

    cdef void accept(self, PacketBatch batch) noexcept nogil:
        """Check the packet in the spare buffer and hand it over, or drop it."""
        cdef bint super_packet = self.vnet_header and self.virtio.gso_type != VIRTIO_GSO_NONE
        cdef packet_t* packet
        if not packet_describe(self.spare, self.virtio.gso_size if super_packet else 0):
            self.not_ip += 1
            return
        if self.vnet_header and not apply_virtio(self.spare, &self.virtio):
            self.bad_offload += 1
            return
        packet = self.exchange()
        if packet == NULL:
            self.no_memory += 1
            return
        batch.items[batch.count] = packet
        batch.count += 1

    cdef packet_t* exchange(self) noexcept nogil:
        """The packet in the spare buffer, in a small buffer of its own or in exchange for a new spare."""
        cdef packet_t* fresh = packet_new(self.spare.length)
        cdef packet_t* packet = self.spare
        cdef uint8_t* data
        if fresh == NULL or not fresh.small:
            if fresh != NULL:
                self.spare = fresh
                return packet
            return NULL
        data = fresh.data
        fresh[0] = packet[0]
        fresh.data = data
        fresh.small = 1
        memcpy(data, packet.data, packet.length)
        return fresh

    # Writing

    cpdef int write(self, PacketRefs refs):
        """Write all packets, and empty the list; the number of packets the kernel took."""
        cdef uint64_t before = self.write_drops
        cdef int count = refs.count, i
        for i in range(count):
            self.write_one(refs.items[i].data, refs.items[i].length)
        self.flush_all()
        refs.clear()
        return count - <int>(self.write_drops - before)

    def write_packet(self, bytes packet not None) -> bool:
        """Write one packet; False: the kernel did not take it."""
        return self.write_alone(<uint8_t*>packet, <uint32_t>len(packet))

    cdef void write_one(self, uint8_t* packet, uint32_t size) noexcept nogil:
        """Join the packet to its flow's group, or write what came before it and then itself."""
        cdef headers_t headers
        cdef group_t* group
        cdef bint joins
        if not self.vnet_header:
            self.write_alone(packet, size)
            return
        if not headers_read(packet, size, &headers) or headers.length == headers.ip_length:
            self.flush_all()                # no ports: of any flow, for all we know
            self.write_alone(packet, size)
            return
        joins = mergeable(packet, size, &headers, self.uso)
        group = self.find(packet, &headers)
        if group != NULL:
            if joins and group_append(group, packet, size, &headers):
                if group.closed:
                    self.flush(group)
                return
            self.flush(group)
        if not joins:
            self.write_alone(packet, size)
            return
        self.open(packet, size, &headers)

    cdef group_t* find(self, const uint8_t* packet, const headers_t* headers) noexcept nogil:
        cdef int i
        for i in range(GROUPS):
            if group_matches(&self.groups[i], packet, headers):
                return &self.groups[i]
        return NULL

    cdef void open(self, uint8_t* packet, uint32_t size, const headers_t* headers) noexcept nogil:
        """Begin a group; the oldest makes room if there are too many."""
        cdef group_t* group = self.oldest(True)
        if group.segments:
            self.flush(group)
        self.opened += 1
        group.opened = self.opened
        group_open(group, packet, size, headers)
        if group.closed:
            self.flush(group)

    cdef group_t* oldest(self, bint or_free) noexcept nogil:
        """The group opened first, or a free one; NULL: all are free."""
        cdef group_t* result = NULL
        cdef int i
        for i in range(GROUPS):
            if self.groups[i].segments == 0:
                if or_free:
                    return &self.groups[i]
            elif result == NULL or <int>(self.groups[i].opened - result.opened) < 0:
                result = &self.groups[i]
        return result

    cdef void flush_all(self) noexcept nogil:
        cdef group_t* group = self.oldest(False)
        while group != NULL:
            self.flush(group)
            group = self.oldest(False)

    cdef void flush(self, group_t* group) noexcept nogil:
        self.put(group.vectors, group_finish(group), group.segments)
        group.segments = 0

    cdef bint write_alone(self, uint8_t* packet, uint32_t size) noexcept nogil:
        memset(&self.virtio, 0, sizeof(virtio_t))
        self.vectors[0].iov_base = &self.virtio
        self.vectors[0].iov_len = sizeof(virtio_t) if self.vnet_header else 0
        self.vectors[1].iov_base = packet
        self.vectors[1].iov_len = size
        return self.put(self.vectors, 2, 1)

    cdef bint put(self, const iovec* vectors, int count, uint32_t packets) noexcept nogil:
        if writev(self.fd, vectors, count) >= 0:
            return True
        self.write_drops += packets
        if errno == EBADFD:
            self.failed = EBADFD
        return False


cdef bint apply_virtio(packet_t* packet, const virtio_t* virtio) noexcept nogil:
    """Check the virtio header, finish an ordinary packet's checksum. False: the two contradict each other."""
    if virtio.gso_type != VIRTIO_GSO_NONE:
        return super_packet_valid(packet, virtio)
    if virtio.flags & VIRTIO_NEEDS_CSUM:
        return finish_checksum(packet, virtio)
    return True


cdef bint super_packet_valid(const packet_t* packet, const virtio_t* virtio) noexcept nogil:
    cdef uint8_t expected = VIRTIO_GSO_UDP_L4
    cdef uint8_t gso_type = virtio.gso_type
    cdef uint16_t offset = 6
    if packet.header_length == packet.ip_header_length or packet.length <= packet.header_length:
        return False
    if packet.protocol == PROTOCOL_TCP:
        expected = VIRTIO_GSO_TCPV4 if packet.version == 4 else VIRTIO_GSO_TCPV6
        gso_type &= ~VIRTIO_GSO_ECN
        offset = 16
    return (
        gso_type == expected
        and virtio.gso_size != 0
        and virtio.flags & VIRTIO_NEEDS_CSUM != 0
        and virtio.csum_start == packet.ip_header_length
        and virtio.csum_offset == offset
    )


cdef bint finish_checksum(packet_t* packet, const virtio_t* virtio) noexcept nogil:
    """The field already holds the sum of the pseudo header."""
    cdef uint32_t start = virtio.csum_start, field = start + virtio.csum_offset
    if start < packet.ip_header_length or field + 2 > packet.length:
        return False
    checksum_store(packet.data + field, checksum_add(packet.data + start, packet.length - start, 0))
    return True
