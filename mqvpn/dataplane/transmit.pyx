# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The way out. In order of precedence: PATH_ACKs, control frames, probes, IP packets.

A burst is what one sendmsg with UDP_SEGMENT takes: packets of equal size for one path, the last may be shorter
(4-byte packet numbers make them equal). Each packet is written straight into its place,
`short header | DATAGRAM | quarter stream ID | context 0 | IP packet`, sealed there (RFC 9001, section 5.3), and header
protection is put on the whole burst when it is closed (section 5.4).
"""
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from mqvpn.dataplane.congestion cimport pacing_allows, pacing_sent
from mqvpn.dataplane.crypto cimport SAMPLE, TAG, header_masks, seal
from mqvpn.dataplane.ecn cimport ecn_mark
from mqvpn.dataplane.events cimport event_limits, event_refused
from mqvpn.dataplane.flow cimport flow_t, queue_head, queue_pop, queue_sent
from mqvpn.dataplane.headers cimport store16, store32
from mqvpn.dataplane.inner cimport packets_hand_over
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.ranges cimport ACK_BYTES, ranges_write_ack
from mqvpn.dataplane.recovery cimport ACK_ONLY, BULK, CONTROL_ONLY, MTU_PROBE, recovery_pto, recovery_sent, sent_kind
from mqvpn.dataplane.resequence cimport SPREAD_BYTES, SPREAD_CONTEXT
from mqvpn.dataplane.schedule cimport *
from mqvpn.dataplane.segment cimport segment_done, segment_length, segment_write
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport path_find

cdef enum:
    BURST_PACKETS = 64              # UDP_MAX_SEGMENTS of older kernels
    BURST_BYTES = 65000
    NUMBER_BYTES = 4
    ACK_EXPONENT = 3                # our ack_delay_exponent: 8 microseconds

# RFC 8289, section 4.3, gives 5 ms for links of constant rate; acks and bursts of outer paths come in steps of more.
cdef double TARGET = 0.015

cdef uint8_t samples[BURST_PACKETS * SAMPLE]
cdef uint8_t masks[BURST_PACKETS * SAMPLE]
cdef uint8_t PING[4]
PING[0] = 1                         # PING and three PADDING frames


cdef inline uint32_t header_length(const path_t* path) noexcept nogil:
    return 1 + path.dcid_length + NUMBER_BYTES


cdef void close_burst(conn_t* conn, path_t* path) noexcept nogil:
    """Put header protection on every packet of the open burst."""
    cdef burst_t* burst = path.burst
    cdef uint32_t header = header_length(path), at = 0, count = 0, i, k
    cdef uint8_t* q
    path.burst = NULL
    if burst == NULL:
        return
    while at < burst.length:
        memcpy(samples + SAMPLE * count, burst.data + at + header, SAMPLE)
        count += 1
        at += burst.segment
    if header_masks(&conn.send_header, samples, masks, <int>count) != 0:
        burst.length = 0
        return
    for i in range(count):
        q = burst.data + i * burst.segment
        q[0] ^= masks[SAMPLE * i] & 0x1f
        for k in range(NUMBER_BYTES):
            q[1 + path.dcid_length + k] ^= masks[SAMPLE * i + 1 + k]
    if burst.ecn:
        path.ecn.marked += count


cdef uint8_t* place(output_t* out, conn_t* conn, path_t* path, uint32_t size) noexcept nogil:
    """Room for a packet of `size` bytes in the path's burst, or in a new one; NULL: no slot is left."""
    cdef burst_t* burst = path.burst
    if burst != NULL:
        if (size <= burst.segment and burst.length + size <= BURST_BYTES
                and burst.length < <uint32_t>burst.segment * BURST_PACKETS):
            return burst.data + burst.length
        close_burst(conn, path)
    if out.count >= out.capacity:
        return NULL
    burst = &out.items[out.count]
    out.count += 1
    burst.remote = path.remote
    burst.local = path.local
    burst.socket = path.socket
    burst.ecn = <uint8_t>ecn_mark(&path.ecn, path.sent.next, out.now, recovery_pto(&path.sent))
    burst.length = 0
    burst.segment = <uint16_t>size
    path.burst = burst
    return burst.data


cdef bint commit(output_t* out, conn_t* conn, path_t* path, uint8_t* q, uint32_t payload,
                 sent_kind kind, uint32_t token) noexcept nogil:
    """Number and seal the packet at q whose payload bytes stand behind the header; account for it."""
    cdef uint32_t header = header_length(path), size = header + payload + TAG, i
    cdef uint64_t number
    if not recovery_sent(&path.sent, <uint16_t>size, kind, token, out.now):
        return False
    number = path.sent.next - 1
    q[0] = 0x40 | ((conn.send_generation & 1) << 2) | (NUMBER_BYTES - 1)
    memcpy(q + 1, path.dcid, path.dcid_length)
    for i in range(NUMBER_BYTES):
        q[1 + path.dcid_length + i] = <uint8_t>(number >> (24 - 8 * i))
    if seal(&conn.send_keys[conn.send_generation % 3], path.id, number, q, header, q + header, payload) != 0:
        return False
    note_sealed(conn, path, number)
    path.tx_packets += 1
    path.tx_bytes += size
    path.address_sent += size
    path.burst.length += size
    if kind != ACK_ONLY:
        pacing_sent(&path.sent.cc, size, out.now)
    if size < path.burst.segment:
        close_burst(conn, path)
    return True


cdef inline void note_sealed(conn_t* conn, path_t* path, uint64_t number) noexcept nogil:
    """Count for the limits of the keys, and remember which numbers the newest keys have on this path."""
    conn.sealed += 1
    if path.sealed_generation != conn.send_generation:
        path.sealed_generation = conn.send_generation
        path.sealed_first = number


cdef inline bint may_send(const conn_t* conn, const path_t* path, uint32_t size) noexcept nogil:
    """Keys, an address, and the anti-amplification limit (RFC 9000, sections 8.1 and 9.3): for each address anew."""
    if conn.send_header.cipher == NULL or not path.opened or path.abandoned:
        return False
    return path.validated or path.address_sent + size <= 3 * path.address_received or conn.is_client


cdef bint write_frames(output_t* out, conn_t* conn, path_t* path, const uint8_t* frames, uint32_t length,
                       uint16_t pad_to, sent_kind kind, uint32_t token) noexcept nogil:
    """One packet of ready frames, padded to a UDP payload of pad_to bytes. False: no slot is left."""
    cdef uint32_t header = header_length(path), payload = length if length > 4 else 4
    cdef uint8_t* q
    if header + payload + TAG < pad_to:
        payload = pad_to - header - TAG
    close_burst(conn, path)                     # frames go in packets of their own
    q = place(out, conn, path, header + payload + TAG)
    if q == NULL:
        return False
    memcpy(q + header, frames, length)
    memset(q + header + length, 0, payload - length)
    commit(out, conn, path, q, payload, kind, token)
    close_burst(conn, path)
    return True


# Acknowledgements.

cdef bint send_acks(output_t* out, conn_t* conn) noexcept nogil:
    """One PATH_ACK for each path that owes one, on its own path while that works, else on the best other."""
    cdef uint8_t frame[ACK_BYTES]
    cdef uint32_t length
    cdef uint64_t delay
    cdef path_t* path
    cdef path_t* carrier
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL or path.ack_at == 0.0 or path.ack_at > out.now:
            continue
        carrier = path
        if not path.opened or path.abandoned or path.suspect:
            carrier = control_path(conn, out.now)
        if carrier == NULL or not may_send(conn, carrier, 100):
            path.ack_at = 0.0
            continue
        delay = <uint64_t>((out.now - path.newest_at) * 1e6) >> ACK_EXPONENT
        length = ranges_write_ack(&path.received, frame, path.id, delay, conn.multipath, path.ecn.received)
        if length and not write_frames(out, conn, carrier, frame, length, 0, ACK_ONLY, 0):
            return False
        path.ack_at = 0.0
        path.unacked = 0
        if conn.send_generation >= path.generation > conn.acked_generation:
            conn.acked_generation = path.generation
    return True


# Control frames.

cdef bint obsolete(const conn_t* conn, const control_t* item, const path_t* path) noexcept nogil:
    """The connection is closing, or the path the frames are bound to is gone, and with it the reason for them."""
    if conn.closed and not item.closing:
        return True
    return item.path_id != ANY and (path == NULL or path.abandoned)


cdef bint must_wait(const conn_t* conn, const control_t* item, const path_t* path) noexcept nogil:
    """No path yet, the amplification limit, or, for frames that may go anywhere, no room; after a probe timeout they
    go out regardless of the window (RFC 9002, section 7.5)."""
    if path == NULL or not may_send(conn, path, item.length + 40):
        return True
    if item.path_id != ANY or item.closing or path.sent.in_flight + item.length <= path.sent.cc.cwnd:
        return False
    return path.beyond == 0


cdef uint16_t padding(const conn_t* conn, const path_t* path, const control_t* item) noexcept nogil:
    """RFC 9000, section 8.2.1: a challenge is not padded where the anti-amplification limit does not permit it."""
    return item.pad_to if may_send(conn, path, item.pad_to) else 0


cdef inline sent_kind kind_of(const control_t* item) noexcept nogil:
    if item.closing:
        return ACK_ONLY
    return MTU_PROBE if item.mtu_probe else CONTROL_ONLY


cdef bint send_control(output_t* out, conn_t* conn) noexcept nogil:
    """What Python queued, oldest first. False: no slot is left."""
    cdef control_t** link = &conn.control_head
    cdef control_t* item
    cdef control_t* last = NULL
    cdef path_t* path
    while link[0] != NULL:
        item = link[0]
        path = control_path(conn, out.now) if item.path_id == ANY else path_find(conn, <uint32_t>item.path_id)
        if not obsolete(conn, item, path):
            if must_wait(conn, item, path):
                last = item
                link = &item.next
                continue
            if not write_frames(out, conn, path, <uint8_t*>item + sizeof(control_t), item.length,
                                padding(conn, path, item), kind_of(item), item.token):
                return False
            if path.beyond:
                path.beyond -= 1
        link[0] = item.next
        if conn.control_tail == item:
            conn.control_tail = last
        conn.control_bytes -= item.length
        free(item)
    return True


cdef bint send_probes(output_t* out, conn_t* conn) noexcept nogil:
    """PINGs that a probe timeout, a suspicion or the keep-alive asked for (RFC 9002, section 6.2.4)."""
    cdef path_t* path
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL:
            continue
        while path.probes:
            if may_send(conn, path, 64) and not write_frames(out, conn, path, PING, 4, 0, CONTROL_ONLY, 0):
                return False
            path.probes -= 1
    return True


# IP packets.

cdef uint32_t smallest_room(const conn_t* conn, const choice_t* choice) noexcept nogil:
    """The largest IP packet that every path in use can carry, and the peer takes (RFC 9221, section 3)."""
    cdef uint32_t least = 65535, room
    cdef int k
    cdef const path_t* path
    for k in range(choice.count):
        path = conn.paths[choice.slots[k]]
        room = path.mtu - header_length(path) - conn.prefix_length - TAG - (SPREAD_BYTES if conn.spread else 0)
        least = room if room < least else least
    room = conn.peer_datagram - conn.prefix_length if conn.peer_datagram > conn.prefix_length else 0
    return room if room < least and not conn.capsules else least


cdef void refuse(output_t* out, conn_t* conn, flow_t* flow, packet_t* packet, uint32_t mtu) noexcept nogil:
    """Too big for the tunnel: dropped, and told so that its sender learns the MTU (RFC 9484, section 10.1)."""
    out.core.drops[DROP_TOO_BIG] += 1
    event_refused(out.core, EVENT_TOO_BIG, conn, packet.data, packet.length, mtu, out.now)
    queue_pop(&conn.queue, flow)


cdef inline void write_prefix(conn_t* conn, flow_t* flow, uint8_t* q) noexcept nogil:
    """DATAGRAM, quarter stream ID and context 0; or context 2 with the flow's number and the packet's."""
    memcpy(q, conn.prefix, conn.prefix_length)
    if flow.spread:
        q[conn.prefix_length - 1] = SPREAD_CONTEXT
        store16(q + conn.prefix_length, flow.number)
        store32(q + conn.prefix_length + 2, flow.sequence)
        flow.sequence += 1


cdef int send_flow(output_t* out, conn_t* conn, flow_t* flow, path_t* path, int64_t* room,
                   uint32_t mtu, double target) noexcept nogil:
    """Segments of one flow on one path until its turn, its packets or the room end. -1: no slot is left."""
    cdef uint32_t header = header_length(path), length, size
    cdef uint32_t prefix = conn.prefix_length + (SPREAD_BYTES if flow.spread else 0)
    cdef packet_t* packet
    cdef uint8_t* q
    while room[0] > 0 and conn.queue.first == flow:
        if not pacing_allows(&path.sent.cc, out.now):
            room[0] = 0
            return 0
        packet = queue_head(&conn.queue, flow, target, out.now, out.core.drops)
        if packet == NULL:
            return 0
        length = segment_length(packet)
        if length > mtu:
            refuse(out, conn, flow, packet, mtu)
            continue
        size = header + prefix + length + TAG
        if <int64_t>size > room[0]:
            room[0] = 0
            return 0
        q = place(out, conn, path, size)
        if q == NULL:
            return -1
        write_prefix(conn, flow, q + header)
        segment_write(packet, q + header + prefix)
        if not commit(out, conn, path, q, prefix + length, BULK, 0):
            room[0] = 0
            return 0
        room[0] -= size
        conn.ip_sent += 1
        conn.ip_sent_bytes += length
        queue_sent(&conn.queue, flow, length, out.now)
        if segment_done(packet):
            queue_pop(&conn.queue, flow)
    return 0


cdef bint send_packets(output_t* out, conn_t* conn) noexcept nogil:
    """IP packets of all flows in turn, as far as the paths have room. False: no slot is left."""
    cdef choice_t choice
    cdef flow_t* flow
    cdef uint32_t blocked = 0, mtu
    cdef path_t* path
    cdef int slot, k
    choices_make(conn, &choice, out.now)
    mtu = smallest_room(conn, &choice)
    while conn.queue.first != NULL and choice.count and blocked < conn.queue.active:
        flow = conn.queue.first
        slot = choose(conn, flow, &choice, out.now)
        if slot == ANY or not may_send(conn, conn.paths[slot], 0):
            conn.queue.first = flow.after
            blocked += 1
            continue
        blocked = 0
        if send_flow(out, conn, flow, conn.paths[slot], &choice.room[slot], mtu, TARGET) < 0:
            return False
    for k in range(choice.count):
        path = conn.paths[choice.slots[k]]
        path.sent.sampler.starved = (conn.queue.first == NULL or choice.room[choice.slots[k]] > 0) and (
            path.sent.in_flight + path.mtu <= path.sent.cc.cwnd)
    return True


cdef bint serve(output_t* out, conn_t* conn) noexcept nogil:
    """Everything this connection may send now. False: the slots ran out first, serve it again."""
    cdef int i
    cdef bint done
    if conn.send_header.cipher == NULL or conn.send_keys[conn.send_generation % 3].aead == NULL:
        return True
    for i in range(PATHS):
        if conn.paths[i] != NULL:
            conn.paths[i].burst = NULL
    done = (conn.closed or send_acks(out, conn)) and send_control(out, conn)
    if done and not conn.closed:
        event_limits(out.core, conn)
        if conn.capsules:
            packets_hand_over(out.core, conn, TARGET, out.now)
        done = send_probes(out, conn) and (conn.quarter_stream < 0 or conn.capsules or send_packets(out, conn))
    for i in range(PATHS):
        if conn.paths[i] != NULL:
            close_burst(conn, conn.paths[i])
    return done
