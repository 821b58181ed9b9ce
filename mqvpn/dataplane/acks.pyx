# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Acknowledgements, both ways: what an ACK or PATH_ACK frame tells recovery, and when one is owed.

RFC 9000, sections 13.2 and 19.3; RFC 9002, section 5.1; draft-ietf-quic-multipath, sections 4.1 and 5.2.
"""
from libc.stdint cimport uint32_t
from mqvpn.dataplane.congestion cimport congestion_rtt
from mqvpn.dataplane.events cimport event_error, event_slot, event_token, owner_t
from mqvpn.dataplane.recovery cimport recovery_acked, recovery_detect, recovery_sample
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport conn_ready, path_find
from mqvpn.dataplane.varint cimport get_varint

cdef enum:
    FRAME_ENCODING_ERROR = 0x07
    PROTOCOL_VIOLATION = 0x0a
    ACK_EVERY = 2                       # ack-eliciting packets that make an ack due at once

cdef double ACK_DELAY = 0.020           # below the 25 ms that we let the peer assume


cdef bint read_ack(inbound_t* packet, uint64_t kind, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """ACK (path 0) or PATH_ACK: newly acknowledged packets, RTT, losses. False when the connection must close."""
    cdef uint64_t path_id = 0, largest = 0, delay = 0, ranges = 0, value = 0, low
    cdef path_t* path
    cdef owner_t owner
    cdef int news
    cdef uint64_t count = 0
    owner.core, owner.conn = packet.core, packet.conn
    if kind >= 0x3e:
        if not packet.conn.multipath:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, kind, "PATH_ACK without the extension")
            return False
        at = get_varint(at, end, &path_id)
    at = get_varint(at, end, &largest)
    at = get_varint(at, end, &delay)
    at = get_varint(at, end, &ranges)
    path = path_find(packet.conn, <uint32_t>path_id)
    if path == NULL or path_id != path.id:
        return True                             # abandoned and forgotten (multipath draft, section 3.4)
    at = get_varint(at, end, &value)
    while True:
        if value > largest:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, kind, "ack range below zero")
            return False
        low = largest - value
        if count == 0:
            sample_rtt(packet, path, largest, delay)
        news = recovery_acked(&path.sent, low, largest, packet.now, event_token, &owner)
        if news < 0:
            # RFC 9000, section 13.1: an ack for a packet never sent is a PROTOCOL_VIOLATION
            event_error(packet.core, packet.conn, PROTOCOL_VIOLATION, kind, "ack of a packet that was not sent")
            return False
        if count == ranges or low <= path.sent.base:
            break                               # older ranges tell nothing new
        at = get_varint(at, end, &value)
        if value + 2 > low:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, kind, "ack gap below zero")
            return False
        largest = low - value - 2
        at = get_varint(at, end, &value)
        count += 1
    packet.core.drops[DROP_DATAGRAM_LOST] -= path.sent.lost_datagrams
    recovery_detect(&path.sent, packet.now, event_token, &owner)
    packet.core.drops[DROP_DATAGRAM_LOST] += path.sent.lost_datagrams
    if path.suspect and path.sent.last_acked == packet.now:
        path.suspect = False
        event_slot(packet.core, EVENT_PATH_ALIVE, packet.conn, path.id, packet.slot, NULL, 0)
    conn_ready(packet.core, packet.conn)
    return True


cdef void sample_rtt(inbound_t* packet, path_t* path, uint64_t largest, uint64_t delay) noexcept nogil:
    """An RTT sample if the largest acknowledged packet is news and the ack took its own path back (RFC 9002, section
    5.1; multipath draft, section 5.2: acks may hop between paths)."""
    cdef double rtt, ack_delay
    cdef uint32_t mask = path.sent.capacity - 1
    if largest >= path.sent.next or largest < path.sent.base or path.sent.ring[largest & mask].state == 0:
        return
    if path != packet.path and path.sent.srtt != 0.0:
        return
    rtt = packet.now - path.sent.ring[largest & mask].time
    if rtt <= 0.0:
        rtt = 1e-6
    ack_delay = <double>delay * (<uint64_t>1 << packet.conn.ack_delay_exponent) * 1e-6
    if ack_delay > path.sent.peer_delay:
        ack_delay = path.sent.peer_delay
    recovery_sample(&path.sent, rtt, ack_delay)
    congestion_rtt(&path.sent.cc, rtt, largest, path.sent.next)


cdef void note_ack(inbound_t* packet) noexcept nogil:
    """Decide when the packet is to be acknowledged: now if it carries control frames, is the second, or left a gap;
    else within ACK_DELAY. All that a receive batch brings shares one PATH_ACK (RFC 9000, section 13.2)."""
    cdef path_t* path = packet.path
    if not packet.eliciting:
        return
    path.unacked += 1
    if packet.urgent or path.unacked >= ACK_EVERY or packet.number != path.received.items[0].high or (
            path.received.count > 1 and path.received.items[0].low == packet.number):
        path.ack_at = packet.now
    elif path.ack_at == 0.0:
        path.ack_at = packet.now + ACK_DELAY
    conn_ready(packet.core, packet.conn)
