# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""IP packets between the TUN device and connections: who may send what to whom.

RFC 9484, sections 4.7 (addresses) and 11 (source validation, BCP 38).
Nothing here ends a connection: a packet that may not pass is dropped under its reason. Of a source that is not
assigned and a destination without a route Python is told, which answers with ICMP errors.
"""
from libc.string cimport memcmp, memcpy, memset
from mqvpn.dataplane.events cimport event_data, event_finish, event_new, event_refused
from mqvpn.dataplane.flow cimport flow_t, queue_add, queue_head, queue_pop, queue_sent
from mqvpn.dataplane.headers cimport load16
from mqvpn.dataplane.mss cimport inner_mtu, may_offer_mss, mss_clamp
from mqvpn.dataplane.packet cimport packet_free
from mqvpn.dataplane.segment cimport segment_done, segment_length, segment_write
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport conn_ready, route_find
from mqvpn.dataplane.tidy cimport tidy_later


cdef struct addresses_t:
    uint8_t source[16]
    uint8_t destination[16]


cdef inline void map_v4(uint8_t* out, const uint8_t* ip) noexcept nogil:
    memset(out, 0, 10)
    out[10] = out[11] = 0xff
    memcpy(out + 12, ip, 4)


cdef inline bint link_local(const uint8_t* ip) noexcept nogil:
    """fe80::/10, ff01::/16 and ff02::/16, 169.254.0.0/16: of one link, never forwarded."""
    if ip[0] == 0xfe and (ip[1] & 0xc0) == 0x80:
        return True
    if ip[0] == 0xff and ((ip[1] & 0x0f) <= 2):
        return True
    return ip[10] == 0xff and ip[11] == 0xff and ip[12] == 169 and ip[13] == 254 and ip[0] == 0 and ip[9] == 0


cdef int read_addresses(const uint8_t* p, uint32_t length, addresses_t* out) noexcept nogil:
    """Source and destination of an IP packet; ANY if it may go on, else the drop reason."""
    if length < 20:
        return DROP_TOO_SHORT
    if p[0] >> 4 == 4:
        if load16(p + 2) != length or (p[0] & 15) < 5:
            return DROP_NOT_IP
        if p[8] == 0:
            return DROP_HOP_LIMIT
        map_v4(out.source, p + 12)
        map_v4(out.destination, p + 16)
        return ANY
    if p[0] >> 4 != 6:
        return DROP_NOT_IP
    if length < 40:
        return DROP_TOO_SHORT
    if <uint32_t>load16(p + 4) + 40 != length:
        return DROP_NOT_IP
    if p[7] == 0:
        return DROP_HOP_LIMIT
    memcpy(out.source, p + 8, 16)
    memcpy(out.destination, p + 24, 16)
    return ANY


cdef bint within(const prefix_t* prefixes, uint32_t count, const uint8_t* ip) noexcept nogil:
    """Whether ip lies in one of the prefixes; True when there are none to check."""
    cdef uint32_t i, whole, rest
    if count == 0:
        return True
    for i in range(count):
        whole = prefixes[i].length >> 3
        rest = prefixes[i].length & 7
        if memcmp(prefixes[i].ip, ip, whole) == 0 and (
                rest == 0 or ((prefixes[i].ip[whole] ^ ip[whole]) >> (8 - rest)) == 0):
            return True
    return False


cdef bint packet_allowed(core_t* core, conn_t* conn, const uint8_t* p, uint32_t length, double now) noexcept nogil:
    """Whether an IP packet from the peer may pass; if not, it is counted."""
    cdef addresses_t addresses
    cdef int reason = read_addresses(p, length, &addresses)
    if reason == ANY:
        if link_local(addresses.source) or link_local(addresses.destination):
            reason = DROP_LINK_LOCAL
        elif not within(conn.remote, conn.remote_count, addresses.source):
            reason = DROP_SOURCE_NOT_ASSIGNED
            event_refused(core, EVENT_UNREACHABLE, conn, p, length, reason, now)
        elif not within(conn.local, conn.local_count, addresses.destination):
            reason = DROP_NO_ROUTE
    if reason != ANY:
        core.drops[reason] += 1
    return reason == ANY


cdef void packet_deliver(core_t* core, conn_t* conn, const uint8_t* p, uint32_t length, sink_t* sink) noexcept nogil:
    """Hand an IP packet on for the TUN; its bytes stay where they are until it was written."""
    if sink.count[0] >= sink.capacity:
        core.drops[DROP_QUEUE_FULL] += 1
        return
    if may_offer_mss(p, length):
        mss_clamp(<uint8_t*>p, length, inner_mtu(conn))
    sink.items[sink.count[0]].data = <uint8_t*>p
    sink.items[sink.count[0]].length = length
    sink.count[0] += 1
    conn.ip_received += 1
    conn.ip_received_bytes += length


cdef conn_t* owner_of(core_t* core, packet_t* packet, int* reason, double now) noexcept nogil:
    """The connection that a packet from the TUN goes to; NULL with the reason why there is none."""
    cdef addresses_t addresses
    cdef conn_t* conn = core.default_conn
    reason[0] = read_addresses(packet.data, packet.length, &addresses)
    if reason[0] != ANY:
        return NULL
    if link_local(addresses.source) or link_local(addresses.destination):
        reason[0] = DROP_LINK_LOCAL
        return NULL
    if core.is_server:
        conn = route_find(core, addresses.destination)
        if conn == NULL:
            reason[0] = DROP_NO_ROUTE
            event_refused(core, EVENT_UNREACHABLE, NULL, packet.data, packet.length, DROP_NO_ROUTE, now)
            return NULL
    if conn == NULL or conn.closed or conn.quarter_stream < 0:
        reason[0] = DROP_NO_PATH
        return NULL
    if not within(conn.local, conn.local_count, addresses.source):
        reason[0] = DROP_SOURCE_NOT_ASSIGNED
        event_refused(core, EVENT_UNREACHABLE, NULL, packet.data, packet.length, DROP_SOURCE_NOT_ASSIGNED, now)
        return NULL
    return conn


cdef bint packet_accept(core_t* core, packet_t* packet, double now) noexcept nogil:
    """Queue a packet from the TUN for its connection, or drop it."""
    cdef int reason = ANY
    cdef conn_t* conn = owner_of(core, packet, &reason, now)
    if conn == NULL:
        core.drops[reason] += 1
        packet_free(packet)
        return False
    if may_offer_mss(packet.data, packet.length):
        mss_clamp(packet.data, packet.length, inner_mtu(conn))
    return packet_queue(core, conn, packet, now)


cdef bint packet_queue(core_t* core, conn_t* conn, packet_t* packet, double now) noexcept nogil:
    """Queue a packet for this connection's peer; unbound or closed, it takes none."""
    if conn.closed or conn.quarter_stream < 0:
        core.drops[DROP_NO_PATH] += 1
        packet_free(packet)
        return False
    packet.arrived = now
    if queue_add(&conn.queue, packet, core.drops) != 0:
        return False
    tidy_later(conn, now)
    conn_ready(core, conn)
    return True


cdef void packets_hand_over(core_t* core, conn_t* conn, double target, double now) noexcept nogil:
    """The peer takes no DATAGRAM frames: what is queued for it goes to Python, for capsules (RFC 9297, section 3.5)."""
    cdef flow_t* flow
    cdef packet_t* packet
    cdef event_t* event
    cdef uint32_t length
    while conn.queue.first != NULL and conn.capsule_room > 0:
        flow = conn.queue.first
        packet = queue_head(&conn.queue, flow, target, now, core.drops)
        if packet == NULL:
            continue
        length = segment_length(packet)
        event = event_new(core, EVENT_PACKET, conn, 0, length)
        if event != NULL:
            segment_write(packet, event_data(event))
            conn.capsule_room -= length
            event_finish(core, event, length)
            conn.ip_sent += 1
            conn.ip_sent_bytes += length
            queue_sent(&conn.queue, flow, length, now)
        if event == NULL or segment_done(packet):
            queue_pop(&conn.queue, flow)
