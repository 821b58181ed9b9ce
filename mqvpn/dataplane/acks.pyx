# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Acknowledgements, both ways: what an ACK or PATH_ACK frame tells recovery, and when one is owed.

RFC 9000, sections 13.2, 13.4 and 19.3; RFC 9002, section 5.1; draft-ietf-quic-multipath, sections 4.1 and 5.4.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset
from mqvpn.dataplane.ecn cimport CE, ECT_0, ECT_1, ecn_answers, ecn_share, ecn_validate
from mqvpn.dataplane.events cimport event_error, event_slot, event_token, owner_t
from mqvpn.dataplane.ranges cimport ranges_write_ack
from mqvpn.dataplane.recovery cimport (
    recovery_acked, recovery_detect, recovery_marked, recovery_oldest_news, recovery_sample, recovery_small_only,
    recovery_timed)
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport conn_ready, path_find
from mqvpn.dataplane.varint cimport get_varint

cdef enum:
    FRAME_ENCODING_ERROR = 0x07
    PROTOCOL_VIOLATION = 0x0a
    KEY_UPDATE_ERROR = 0x0e
    ACK_EXPONENT = 3                    # our ack_delay_exponent: 8 microseconds
    ACK_VOLUME = 2000                   # of them that make it due at once: less than two full packets

cdef double ACK_DELAY = 0.020           # below the 25 ms that we let the peer assume
cdef double ACK_SOON = 0.005            # what is sent meanwhile takes the ack along


cdef struct ack_t:                      # the frame in hand
    uint64_t kind
    uint64_t largest
    uint64_t delay
    uint64_t ranges                     # after the one at `at`
    const uint8_t* at
    const uint8_t* end
    uint32_t marked                     # packets newly acknowledged that left with ECT(0)
    bint newest                         # no ack told of as late a packet before


cdef bint read_ack(inbound_t* packet, uint64_t kind, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """ACK (path 0) or PATH_ACK: newly acknowledged packets, RTT, losses. False when the connection must close."""
    cdef uint64_t path_id = 0, marked
    cdef ack_t ack
    cdef path_t* path
    memset(&ack, 0, sizeof(ack_t))
    ack.kind, ack.end = kind, end
    if kind >= 0x3e:
        if not packet.conn.multipath:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, kind, "PATH_ACK without the extension")
            return False
        at = get_varint(at, end, &path_id)
        if path_id > packet.conn.path_limit:
            event_error(packet.core, packet.conn, PROTOCOL_VIOLATION, kind, "path ID above our limit")
            return False
    at = get_varint(at, end, &ack.largest)
    at = get_varint(at, end, &ack.delay)
    ack.at = get_varint(at, end, &ack.ranges)
    path = path_find(packet.conn, <uint32_t>path_id)
    if path == NULL or path_id != path.id:
        return True                             # abandoned and forgotten (multipath draft, section 3.4)
    if ack.largest >= path.sealed_first and packet.generation < path.sealed_generation and ack.largest < path.sent.next:
        # RFC 9001, section 6.2: an ack in a packet with old keys of one that was sent with newer ones
        event_error(packet.core, packet.conn, KEY_UPDATE_ERROR, kind, "old keys acknowledge newer ones")
        return False
    ack.newest = not path.sent.acked_any or ack.largest > path.sent.largest_acked
    if not read_ranges(packet, path, &ack):
        return False
    marked = path.ecn.told[CE]
    if ack.newest and read_counts(path, &ack):
        recovery_marked(&path.sent, path.ecn.told[CE] - marked, packet.now)
    conclude(packet, path)
    return True


cdef bint read_ranges(inbound_t* packet, path_t* path, ack_t* ack) noexcept nogil:
    """All ranges that can tell something new. False when the connection must close."""
    cdef uint64_t largest = ack.largest, low, value = 0
    cdef owner_t owner
    cdef int news
    owner.core, owner.conn = packet.core, packet.conn
    ack.at = get_varint(ack.at, ack.end, &value)
    while True:
        if value > largest:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, ack.kind, "ack range below zero")
            return False
        low = largest - value
        if largest == ack.largest:
            sample_rtt(packet, path, low, ack)
        news = recovery_acked(&path.sent, low, largest, packet.now, event_token, &owner)
        if news < 0:
            # RFC 9000, section 13.1: an ack for a packet never sent is a PROTOCOL_VIOLATION
            event_error(packet.core, packet.conn, PROTOCOL_VIOLATION, ack.kind, "ack of a packet that was not sent")
            return False
        if news:                                # all of them at base or above
            ack.marked += ecn_share(&path.ecn, low if low > path.sent.base else path.sent.base, largest, <uint32_t>news)
        if ack.ranges == 0 or low <= recovery_oldest_news(&path.sent):
            return True
        ack.at = get_varint(ack.at, ack.end, &value)
        if value + 2 > low:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, ack.kind, "ack gap below zero")
            return False
        largest = low - value - 2
        ack.at = get_varint(ack.at, ack.end, &value)
        ack.ranges -= 1


cdef bint read_counts(path_t* path, ack_t* ack) noexcept nogil:
    """The ECN counts behind the ranges, or that there are none; True: packets were marked on their way."""
    cdef uint64_t counts[4]
    cdef const uint8_t* at = ack.at
    if not ack.kind & 1:
        return ecn_validate(&path.ecn, NULL, ack.marked, path.sent.next)
    while ack.ranges:                           # those that were not looked at
        at = get_varint(at, ack.end, &counts[0])
        at = get_varint(at, ack.end, &counts[0])
        ack.ranges -= 1
    at = get_varint(at, ack.end, &counts[ECT_0])
    at = get_varint(at, ack.end, &counts[ECT_1])
    get_varint(at, ack.end, &counts[CE])
    return ecn_validate(&path.ecn, counts, ack.marked, path.sent.next)


cdef void conclude(inbound_t* packet, path_t* path) noexcept nogil:
    """Losses that the ack shows; a suspect path that was acknowledged is alive, though perhaps for small packets only:
    Python, which hears of it, asks the path."""
    cdef owner_t owner
    owner.core, owner.conn = packet.core, packet.conn
    packet.core.drops[DROP_DATAGRAM_LOST] -= path.sent.lost_datagrams
    recovery_detect(&path.sent, packet.now, event_token, &owner)
    packet.core.drops[DROP_DATAGRAM_LOST] += path.sent.lost_datagrams
    if path.suspect and path.sent.last_acked == packet.now:
        path.suspect = False
        path.narrow = path.narrow or (path.usable and recovery_small_only(&path.sent))
        ecn_answers(&path.ecn, path.sent.next, packet.now)
        event_slot(packet.core, EVENT_PATH_ALIVE, packet.conn, path.id, packet.slot, NULL, 0)
    conn_ready(packet.core, packet.conn)


cdef void sample_rtt(inbound_t* packet, path_t* path, uint64_t low, const ack_t* ack) noexcept nogil:
    """An RTT sample from the first range, if the ack took its own path back (multipath draft, section 5.4: acks may
    hop between paths)."""
    cdef double rtt, ack_delay, sent = recovery_timed(&path.sent, low, ack.largest)
    if sent == 0.0 or (path != packet.path and path.sent.srtt != 0.0):
        return
    rtt = packet.now - sent
    if rtt <= 0.0:
        rtt = 1e-6
    ack_delay = <double>ack.delay * (<uint64_t>1 << packet.conn.ack_delay_exponent) * 1e-6
    if ack_delay > path.sent.peer_delay:
        ack_delay = path.sent.peer_delay
    recovery_sample(&path.sent, rtt, ack_delay, packet.now)


cdef void note_ack(inbound_t* packet, uint32_t size) noexcept nogil:
    """Decide when the packet is to be acknowledged: now if it carries control frames, left a gap, or makes two full
    packets; soon if it is the second; else within ACK_DELAY. All that a receive batch brings shares one PATH_ACK (RFC
    9000, section 13.2). Of small packets many make one: the acks of an inner TCP flow would cost as many outer ones."""
    cdef path_t* path = packet.path
    cdef double at
    if not packet.eliciting:
        return
    path.unacked += 1
    path.unacked_bytes += size
    if packet.urgent or path.unacked_bytes > ACK_VOLUME or packet.number != path.received.items[0].high or (
            path.received.count > 1 and path.received.items[0].low == packet.number):
        path.ack_at = packet.now
    else:
        at = packet.now + (ACK_DELAY if path.unacked < ACK_EVERY else ACK_SOON)
        if path.ack_at == 0.0 or at < path.ack_at:
            path.ack_at = at
    conn_ready(packet.core, packet.conn)


cdef uint32_t ack_frame(const conn_t* conn, const path_t* path, uint8_t* frame, double now) noexcept nogil:
    """Write what the path owes, at most ACK_BYTES; its length, 0 with nothing to say."""
    cdef uint64_t delay = <uint64_t>((now - path.newest_at) * 1e6) >> ACK_EXPONENT
    return ranges_write_ack(&path.received, frame, path.id, delay, conn.multipath, path.ecn.received)


cdef void ack_left(conn_t* conn, path_t* path) noexcept nogil:
    """The frame is on its way."""
    path.ack_at = 0.0
    path.unacked = path.unacked_bytes = 0
    if conn.send_generation >= path.generation > conn.acked_generation:
        conn.acked_generation = path.generation
