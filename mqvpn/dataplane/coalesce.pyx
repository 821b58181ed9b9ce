# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Segments of one flow joined into a super packet, which the kernel takes in one piece.

The rule is that of the kernel's GRO: the super packet, cut again, gives back the very same segments. So all
of them have the same headers but for lengths, checksums, sequence numbers and IPv4 IDs (which count up, or
do not matter: RFC 6864, section 4.1), the same payload length but for a shorter last one, FIN only on the
last, no CWR, and a correct checksum, since a new one will be made. Only PSH may move to a later segment: what
comes with it goes up with it, so nothing waits for longer, and a sender whose every write ended a super packet
would be answered with an ACK for each, which make it send ever smaller ones. Payloads stay where they are.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from mqvpn.dataplane.checksum cimport checksum_add, checksum_fold, checksum_ipv4, checksum_pseudo
from mqvpn.dataplane.headers cimport (
    IPV6_HEADER, PROTOCOL_TCP, headers_t, load16, load32, store16
)
from mqvpn.dataplane.virtio cimport VIRTIO_GSO_TCPV4, VIRTIO_GSO_TCPV6, VIRTIO_GSO_UDP_L4, VIRTIO_NEEDS_CSUM

cdef enum:
    FIN = 0x01
    PSH = 0x08
    ACK = 0x10
    ECE = 0x40
    DONT_FRAGMENT = 0x40        # in byte 6 of the IPv4 header


cdef bint mergeable(const uint8_t* packet, uint32_t size, const headers_t* headers, bint uso) noexcept nogil:
    """Whether a whole TCP or UDP packet may be part of a super packet."""
    cdef const uint8_t* transport = packet + headers.ip_length
    cdef uint32_t length = size - headers.ip_length
    if headers.total != size or headers.length >= size:
        return False
    if headers.version == 6:
        if headers.ip_length != IPV6_HEADER:
            return False
    elif checksum_fold(checksum_add(packet, headers.ip_length, 0)) != 0xffff:
        return False
    if headers.protocol == PROTOCOL_TCP:
        if transport[13] & ~(FIN | PSH | ECE) != ACK:
            return False
    elif not uso or load16(transport + 4) != length or load16(transport + 6) == 0:
        return False
    return checksum_fold(
        checksum_add(transport, length, checksum_pseudo(packet, headers.protocol, length))
    ) == 0xffff


cdef bint group_matches(const group_t* group, const uint8_t* packet, const headers_t* headers) noexcept nogil:
    """Whether a TCP or UDP packet is of this group's flow."""
    cdef const headers_t* layout = &group.layout
    if group.segments == 0 or layout.version != headers.version or layout.protocol != headers.protocol:
        return False
    if memcmp(group.headers + layout.ip_length, packet + headers.ip_length, 4) != 0:       # ports
        return False
    if headers.version == 4:
        return memcmp(group.headers + 12, packet + 12, 8) == 0
    return memcmp(group.headers + 8, packet + 8, 32) == 0


cdef void group_open(
    group_t* group, uint8_t* packet, uint32_t size, const headers_t* headers
) noexcept nogil:
    """Begin a group with a mergeable packet."""
    cdef const uint8_t* transport = packet + headers.ip_length
    memcpy(group.headers, packet, headers.length)
    group.layout = headers[0]
    group.segments = 0
    group.length = headers.length
    group.gso_size = <uint16_t>(size - headers.length)
    group.closed = False
    group.identification = load16(packet + 4)
    if headers.protocol == PROTOCOL_TCP:
        group.sequence = load32(transport + 4)
    take(group, packet, size)


cdef bint group_append(
    group_t* group, uint8_t* packet, uint32_t size, const headers_t* headers
) noexcept nogil:
    """Add a mergeable packet of the same flow; False: it is not the continuation of this super packet."""
    cdef uint32_t payload = size - headers.length
    cdef const uint8_t* transport = packet + headers.ip_length
    if headers.ip_length != group.layout.ip_length or headers.length != group.layout.length:
        return False
    if payload > group.gso_size or group.length + payload > GROUP_BYTES:
        return False
    if not same_ip(group, packet, headers):
        return False
    if headers.protocol == PROTOCOL_TCP:
        if not continues_tcp(group, transport, headers.length - headers.ip_length):
            return False
    take(group, packet, size)
    return True


cdef inline bint same_ip(
    const group_t* group, const uint8_t* packet, const headers_t* headers
) noexcept nogil:
    """All but the length, the ID and the checksum."""
    cdef const uint8_t* first = <const uint8_t*>group.headers
    if headers.version == 6:
        return memcmp(first, packet, 4) == 0 and memcmp(first + 6, packet + 6, IPV6_HEADER - 6) == 0
    if not packet[6] & DONT_FRAGMENT and load16(packet + 4) != group.identification:
        return False
    return (
        memcmp(first, packet, 2) == 0
        and memcmp(first + 6, packet + 6, 4) == 0
        and memcmp(first + 12, packet + 12, headers.ip_length - 12) == 0
    )


cdef inline bint continues_tcp(const group_t* group, const uint8_t* tcp, uint32_t length) noexcept nogil:
    """The next sequence number; the same acknowledgement, flags, window, urgent pointer and options."""
    cdef const uint8_t* first = group.headers + group.layout.ip_length
    return (
        load32(tcp + 4) == group.sequence
        and memcmp(first + 8, tcp + 8, 5) == 0
        and (first[13] ^ tcp[13]) & ~(FIN | PSH) == 0
        and memcmp(first + 14, tcp + 14, 2) == 0
        and memcmp(first + 18, tcp + 18, length - 18) == 0
    )


cdef inline void take(group_t* group, uint8_t* packet, uint32_t size) noexcept nogil:
    cdef uint32_t payload = size - group.layout.length
    cdef uint8_t flags = 0
    group.vectors[2 + group.segments].iov_base = packet + group.layout.length
    group.vectors[2 + group.segments].iov_len = payload
    group.segments += 1
    group.length += payload
    group.sequence += payload
    group.identification += 1
    if group.layout.protocol == PROTOCOL_TCP:
        flags = packet[group.layout.ip_length + 13] & (FIN | PSH)
        group.headers[group.layout.ip_length + 13] |= flags
    group.closed = flags & FIN or payload < group.gso_size or group.segments == GROUP_SEGMENTS


cdef int group_finish(group_t* group) noexcept nogil:
    """Make the group ready for writev(); the number of vectors."""
    cdef const headers_t* layout = &group.layout
    memset(&group.virtio, 0, sizeof(group.virtio))
    group.vectors[0].iov_base = &group.virtio
    group.vectors[0].iov_len = sizeof(group.virtio)
    group.vectors[1].iov_base = group.headers
    group.vectors[1].iov_len = layout.length
    if group.segments > 1:
        finish_ip(group)
        finish_transport(group)
    return 2 + group.segments


cdef inline void finish_ip(group_t* group) noexcept nogil:
    if group.layout.version == 6:
        store16(group.headers + 4, group.length - IPV6_HEADER)
        return
    store16(group.headers + 2, group.length)
    checksum_ipv4(group.headers, group.layout.ip_length)


cdef inline void finish_transport(group_t* group) noexcept nogil:
    """Length and virtio header; the checksum field holds the sum of the pseudo header only."""
    cdef uint8_t* transport = group.headers + group.layout.ip_length
    cdef uint32_t length = group.length - group.layout.ip_length
    cdef uint16_t partial = checksum_fold(checksum_pseudo(group.headers, group.layout.protocol, length))
    group.virtio.flags = VIRTIO_NEEDS_CSUM
    group.virtio.hdr_len = group.layout.length
    group.virtio.gso_size = group.gso_size
    group.virtio.csum_start = group.layout.ip_length
    if group.layout.protocol == PROTOCOL_TCP:
        group.virtio.gso_type = VIRTIO_GSO_TCPV4 if group.layout.version == 4 else VIRTIO_GSO_TCPV6
        group.virtio.csum_offset = 16
    else:
        store16(transport + 4, length)
        group.virtio.gso_type = VIRTIO_GSO_UDP_L4
        group.virtio.csum_offset = 6
    memcpy(transport + group.virtio.csum_offset, &partial, 2)
