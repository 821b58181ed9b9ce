# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Super packets cut into segments (TSO4, TSO6, USO), each written straight into its place.

As the kernel cuts them: the length fields, the IPv4 ID, the TCP sequence number, flags and checksums of
each segment are its own, everything else is the super packet's. FIN and PSH belong to the last segment and
CWR to the first (RFC 3168, section 6.1.2).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mqvpn.dataplane.checksum cimport (
    checksum_add, checksum_copy, checksum_ipv4, checksum_pseudo, checksum_store
)
from mqvpn.dataplane.headers cimport (
    IPV6_HEADER, PROTOCOL_TCP, load16, load32, store16, store32
)
from mqvpn.dataplane.packet cimport packet_t, PacketBatch

cdef enum:
    TCP_FIN = 0x01
    TCP_PSH = 0x08
    TCP_CWR = 0x80


cdef uint32_t segment_length(const packet_t* packet) noexcept nogil:
    """IP length of the next segment."""
    cdef uint32_t left = packet.length - packet.header_length - packet.cursor
    if packet.gso_size == 0:
        return packet.length
    return packet.header_length + (packet.gso_size if left > packet.gso_size else left)


cdef bint segment_done(const packet_t* packet) noexcept nogil:
    """Whether all segments were written."""
    if packet.gso_size == 0:
        return packet.cursor >= packet.length
    return packet.header_length + packet.cursor >= packet.length


cdef uint32_t segment_write(packet_t* packet, uint8_t* out) noexcept nogil:
    """Write the next segment, segment_length() bytes, and advance to the one after it. Returns its length."""
    cdef uint32_t length = segment_length(packet), header = packet.header_length, payload
    cdef uint64_t total
    if packet.gso_size == 0:
        memcpy(out, packet.data, length)
        packet.cursor = length
        return length
    payload = length - header
    memcpy(out, packet.data, header)
    total = checksum_copy(out + header, packet.data + header + packet.cursor, payload, 0)
    write_ip(packet, out, length)
    write_transport(packet, out, length, total)
    packet.cursor += payload
    packet.segment_index += 1
    return length


cdef inline void write_ip(const packet_t* packet, uint8_t* out, uint32_t length) noexcept nogil:
    if packet.version == 6:
        store16(out + 4, length - IPV6_HEADER)
        return
    store16(out + 2, length)
    store16(out + 4, load16(out + 4) + packet.segment_index)
    checksum_ipv4(out, packet.ip_header_length)


cdef inline void write_transport(
    const packet_t* packet, uint8_t* out, uint32_t length, uint64_t total
) noexcept nogil:
    """Finish the TCP or UDP header; `total` is the sum of the payload."""
    cdef uint8_t* header = out + packet.ip_header_length
    cdef uint8_t* checksum
    cdef uint32_t transport = length - packet.ip_header_length
    if packet.protocol == PROTOCOL_TCP:
        write_tcp(packet, header, packet.header_length + packet.cursor + (length - packet.header_length))
        checksum = header + 16
    else:
        store16(header + 4, transport)
        checksum = header + 6
    checksum[0] = checksum[1] = 0
    total = checksum_add(header, packet.header_length - packet.ip_header_length, total)
    checksum_store(checksum, total + checksum_pseudo(out, packet.protocol, transport))


cdef inline void write_tcp(const packet_t* packet, uint8_t* tcp, uint32_t end) noexcept nogil:
    """Sequence number and flags of the segment that ends `end` bytes into the super packet."""
    store32(tcp + 4, load32(tcp + 4) + packet.cursor)
    if end < packet.length:
        tcp[13] &= ~(TCP_FIN | TCP_PSH)
    if packet.segment_index:
        tcp[13] &= ~TCP_CWR


def segments(PacketBatch batch not None) -> list[bytes]:
    """All segments of all packets of a batch, which is empty afterwards."""
    cdef uint8_t[66 * 1024] out
    cdef list result = []
    cdef uint32_t length
    cdef int i
    for i in range(batch.count):
        while not segment_done(batch.items[i]):
            length = segment_write(batch.items[i], out)
            result.append(<bytes>out[:length])
    batch.clear()
    return result
