# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bursts: packets on their way out, ready frames and IP packets.

A burst is what one sendmsg with UDP_SEGMENT takes: packets of equal size for one path, the last may be shorter
(4-byte packet numbers make them equal). Each packet is written straight into its place,
`short header | DATAGRAM | quarter stream ID | context 0 | IP packet`, sealed there (RFC 9001, section 5.3), and header
protection is put on the whole burst when it is closed (section 5.4).
"""
from libc.string cimport memcpy, memset
from mqvpn.dataplane.acks cimport ACK_EVERY, ack_frame, ack_left
from mqvpn.dataplane.aead cimport TAG
from mqvpn.dataplane.congestion cimport pacing_allows, pacing_sent
from mqvpn.dataplane.crypto cimport SAMPLE, header_masks, seal
from mqvpn.dataplane.ecn cimport ecn_mark
from mqvpn.dataplane.events cimport event_refused
from mqvpn.dataplane.flow cimport STAMPED, UNDECIDED, flow_t, queue_head, queue_pace, queue_pop, queue_sent
from mqvpn.dataplane.headers cimport store16, store32
from mqvpn.dataplane.packet cimport packet_t
from mqvpn.dataplane.ranges cimport ACK_BYTES
from mqvpn.dataplane.recovery cimport BULK, CONTROL_ONLY, recovery_pto, recovery_sent, recovery_takes, sent_kind
from mqvpn.dataplane.reinject cimport kept_add, kept_note, kept_reserve, kept_t, reinject_next
from mqvpn.dataplane.resequence cimport SPREAD_BYTES, SPREAD_CONTEXT
from mqvpn.dataplane.schedule cimport *
from mqvpn.dataplane.segment cimport segment_done, segment_length, segment_write
from mqvpn.dataplane.stamps cimport STAMP_BYTES, numbering, stamp_write, stamps_judge
from mqvpn.dataplane.state cimport *

cdef enum:
    BURST_PACKETS = 64              # UDP_MAX_SEGMENTS of older kernels
    BURST_BYTES = 65000
    ROUND_BYTES = 60000             # sent before more is written: the kernel copies them out of the nearest cache
    NUMBER_BYTES = 4
    EVERYTHING = 1 << 30

cdef uint8_t samples[BURST_PACKETS * SAMPLE]
cdef uint8_t masks[BURST_PACKETS * SAMPLE]


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
    """Room for a packet of `size` bytes in the path's burst, or in a new one; NULL: no slot is left in this round."""
    cdef burst_t* burst = path.burst
    if burst != NULL:
        if (size <= burst.segment and burst.length + size <= BURST_BYTES
                and burst.length < <uint32_t>burst.segment * BURST_PACKETS):
            return burst.data + burst.length
        close_burst(conn, path)
    if out.count >= out.capacity or out.bytes >= ROUND_BYTES:
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
    out.bytes += size
    if kind == CONTROL_ONLY or kind == BULK:  # many probes are lost before a rate is known that could pace them
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


cdef bint may_send(const conn_t* conn, const path_t* path, uint32_t size) noexcept nogil:
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


# IP packets.

cdef uint32_t smallest_room(const conn_t* conn, const choice_t* choice) noexcept nogil:
    """The largest IP packet that every path in use can carry, and the peer takes (RFC 9221, section 3)."""
    cdef uint32_t least = 65535, room, around = conn.prefix_length + numbering(conn)
    cdef int k
    cdef const path_t* path
    for k in range(choice.count):
        path = conn.paths[choice.slots[k]]
        room = path.mtu - header_length(path) - around - TAG
        least = room if room < least else least
    room = conn.peer_datagram - around if conn.peer_datagram > around else 0
    return room if room < least and not conn.capsules else least


cdef void refuse(output_t* out, conn_t* conn, flow_t* flow, packet_t* packet, uint32_t mtu) noexcept nogil:
    """Too big for the tunnel: dropped, and told so that its sender learns the MTU (RFC 9484, section 10.1)."""
    out.core.drops[DROP_TOO_BIG] += 1
    event_refused(out.core, EVENT_TOO_BIG, conn, packet.data, packet.length, mtu, out.now)
    queue_pop(&conn.queue, flow)


cdef inline uint32_t prefix_length(const conn_t* conn, flow_t* flow) noexcept nogil:
    """Bytes between QUIC's short header and the IP packets of a flow, which has some."""
    if conn.stamps != NULL and flow.stamps == UNDECIDED:
        stamps_judge(conn, flow)
    if flow.stamps == STAMPED:
        return conn.prefix_length + STAMP_BYTES
    return conn.prefix_length + (SPREAD_BYTES if flow.spread or conn.several else 0)


cdef inline void write_prefix(output_t* out, conn_t* conn, flow_t* flow, uint8_t* q) noexcept nogil:
    """DATAGRAM, quarter stream ID and context 0, with a stamp if the flow has them; or context 2 with the number of the
    flow, 0 of one that is not spread, and that of the packet."""
    memcpy(q, conn.prefix, conn.prefix_length)
    if flow.stamps == STAMPED:
        stamp_write(q + conn.prefix_length, flow)
        return
    if not flow.spread and not conn.several:
        return
    q[conn.prefix_length - 1] = SPREAD_CONTEXT
    q += conn.prefix_length
    if flow.spread:
        store16(q, flow.number)
        store32(q + 2, <uint32_t>flow.sequence)
        flow.sequence += 1
        conn.spread_at[flow.number & (LANES - 1)] = out.now
    else:
        store16(q, 0)
        store32(q + 2, conn.sequence)
        conn.sequence += 1


cdef bint write_again(output_t* out, conn_t* conn, path_t* path, const uint8_t* payload, uint32_t length,
                      uint64_t kept) noexcept nogil:
    """A packet whose payload is there already. False: no slot is left."""
    cdef uint32_t header = header_length(path)
    cdef uint8_t* q = place(out, conn, path, header + length + TAG)
    if q == NULL:
        return False
    memcpy(q + header, payload, length)
    if commit(out, conn, path, q, length, BULK, 0):
        kept_note(path, kept)
    return True


cdef void send_copies(output_t* out, conn_t* conn, const path_t* path, choice_t* choice, const uint8_t* payload,
                      uint32_t length, uint64_t kept) noexcept nogil:
    """The scheduler `redundant`: the same packet on all other paths that have room."""
    cdef int slot
    cdef path_t* other
    cdef uint32_t size
    for slot in range(PATHS):
        other = conn.paths[slot]
        if other == path or not takes_copies(conn, choice, slot):
            continue
        size = header_length(other) + length + TAG
        if choice.room[slot] < size or size > other.mtu or not pacing_allows(&other.sent.cc, out.now):
            continue
        if may_send(conn, other, size) and write_again(out, conn, other, payload, length, kept):
            choice.room[slot] -= size


cdef inline bint places_left(const output_t* out, int copies, uint32_t size) noexcept nogil:
    """Whether every copy of a packet of so many bytes finds a place in this round: else all leave with the next."""
    if copies == 0 or out.count == 0:
        return True
    return out.count + copies <= out.capacity and out.bytes + copies * size <= ROUND_BYTES


cdef inline void segment_left(conn_t* conn, flow_t* flow, packet_t* packet, uint32_t length, double now) noexcept nogil:
    conn.ip_sent += 1
    conn.ip_sent_bytes += length
    queue_sent(&conn.queue, flow, length, now)
    if segment_done(packet):
        queue_pop(&conn.queue, flow)


cdef uint32_t rider_of(const conn_t* conn, const path_t* path, uint32_t length, uint32_t size, uint8_t* frame,
                       double now) noexcept nogil:
    """The ack that goes with an IP packet, if the path owes one and the packet is small or the burst has room behind
    it, as behind the end of a super packet: a packet less on its way. Its length."""
    cdef uint32_t rider
    if path.ack_at == 0.0 or (path.unacked < ACK_EVERY and path.ack_at > now):
        return 0
    if length <= RIDER:
        return ack_frame(conn, path, frame, now)
    if path.burst == NULL or size >= path.burst.segment:
        return 0
    rider = ack_frame(conn, path, frame, now)
    return rider if size + rider <= path.burst.segment else 0


cdef int send_flow(output_t* out, conn_t* conn, flow_t* flow, int slot, choice_t* choice, uint32_t mtu,
                   double target) noexcept nogil:
    """Segments of one flow on one path until its turn, its packets or the room end. -1: no slot is left."""
    cdef path_t* path = conn.paths[slot]
    cdef int64_t* room = &choice.room[slot]
    cdef uint32_t header = header_length(path), length, size, rider
    cdef uint32_t prefix = prefix_length(conn, flow)
    cdef bint keeps = conn.several and conn.reinjection
    cdef int copies = copies_of(conn, choice)
    cdef uint64_t kept = 0
    cdef packet_t* packet
    cdef uint8_t frame[ACK_BYTES]
    cdef uint8_t* q
    while room[0] > 0 and conn.queue.first == flow:
        if not pacing_allows(&path.sent.cc, out.now) or not recovery_takes(&path.sent):
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
        rider = rider_of(conn, path, length, size, frame, out.now)
        size += rider
        if <int64_t>size > room[0]:
            room[0] = 0
            return 0
        q = place(out, conn, path, size) if places_left(out, copies, size) else NULL
        if q == NULL:
            return -1
        memcpy(q + header, frame, rider)
        q += header + rider
        write_prefix(out, conn, flow, q)
        segment_write(packet, q + prefix)
        if keeps:
            kept = kept_add(out.core, conn, q, prefix + length, packet.next == NULL and segment_done(packet), out.now)
        if copies:
            send_copies(out, conn, path, choice, q, prefix + length, kept)
        if not commit(out, conn, path, q - header - rider, rider + prefix + length, BULK, 0):
            room[0] = 0
            return 0
        if rider:
            ack_left(conn, path)
        kept_note(path, kept)
        room[0] -= size
        segment_left(conn, flow, packet, length, out.now)
    return 0


cdef bint send_again(output_t* out, conn_t* conn, choice_t* choice, bint sparse, int64_t most) noexcept nogil:
    """At most so many bytes of what was in flight on paths that failed, on others that have room. False: no slot is
    left."""
    cdef kept_t* record
    cdef path_t* path
    cdef uint64_t* kept
    cdef uint32_t size
    cdef int i, slot
    for i in range(PATHS):
        path = conn.paths[i]
        while path != NULL and path.again_end and most > 0:
            record = reinject_next(conn, path, sparse, out.now)
            slot = earliest(conn, choice)
            if record == NULL or choice.failing or slot == ANY:
                break
            size = header_length(conn.paths[slot]) + record.length + TAG
            if size <= conn.paths[slot].mtu and may_send(conn, conn.paths[slot], size):
                if not pacing_allows(&conn.paths[slot].sent.cc, out.now) or choice.room[slot] < size:
                    choice.room[slot] = 0
                    continue
                kept = &path.sent.ring[path.again[sparse] & (path.sent.capacity - 1)].kept
                if not write_again(out, conn, conn.paths[slot], <uint8_t*>record + sizeof(kept_t), record.length,
                                   kept[0]):
                    return False
                kept[0] = 0             # it is the other path's now: the next failure of this one leaves it alone
                choice.room[slot] -= size
                most -= size
            path.again[sparse] += 1
    return True


cdef bint again_pending(const conn_t* conn) noexcept nogil:
    """Whether some path still has packets to be sent again."""
    cdef const path_t* path
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path != NULL and (path.again[0] < path.again_end or path.again[1] < path.again_end):
            return True
    return False


cdef double fastest(const conn_t* conn, const choice_t* choice) noexcept nogil:
    """What the fastest path in use delivers, bytes per second."""
    cdef double rate, most = 0.0
    cdef int k
    for k in range(choice.count):
        rate = conn.paths[choice.slots[k]].sent.rate
        most = rate if rate > most else most
    return most


cdef bint send_packets(output_t* out, conn_t* conn, double target) noexcept nogil:
    """IP packets of all flows in turn, as far as the paths have room; target: CoDel's. False: no slot is left."""
    cdef choice_t choice
    cdef flow_t* flow
    cdef uint32_t blocked = 0, mtu
    cdef path_t* path
    cdef int slot, k
    choices_make(conn, &choice, out.now)
    mtu = smallest_room(conn, &choice)
    queue_pace(&conn.queue, fastest(conn, &choice))
    if conn.several and conn.reinjection and conn.queue.first != NULL:
        kept_reserve(out.core, conn)
    if conn.again and not send_again(out, conn, &choice, True, EVERYTHING):
        return False
    while conn.queue.first != NULL and choice.count and blocked < conn.queue.active:
        flow = conn.queue.first
        slot = choose(conn, flow, &choice, out.now)
        if slot == ANY or not may_send(conn, conn.paths[slot], 0):
            conn.queue.first = flow.after
            blocked += 1
            continue
        blocked = 0
        if send_flow(out, conn, flow, slot, &choice, mtu, target) < 0:
            return False
        if conn.again and not send_again(out, conn, &choice, False, conn.queue.quantum):
            return False
    if conn.again and not send_again(out, conn, &choice, False, EVERYTHING):
        return False
    conn.again = conn.again and again_pending(conn)
    for k in range(choice.count):
        path = conn.paths[choice.slots[k]]
        path.sent.sampler.starved = (conn.queue.first == NULL or choice.room[choice.slots[k]] > 0) and (
            path.sent.in_flight + path.mtu <= path.sent.cc.cwnd)
    return True
