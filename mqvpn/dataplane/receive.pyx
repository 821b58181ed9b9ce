# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The way in. In packet order:

1. a receive slot is cut into datagrams (GRO); long headers go to Python, short headers find their connection;
2. header-protection masks are made for all datagrams of a connection in the slot at once (RFC 9001, section 5.4);
3. packet number, key generation, AEAD in place (RFC 9001, sections 5.3 and 6; RFC 9000, appendix A.3);
4. path and duplicate check (draft-ietf-quic-multipath, section 2.4: the path is that of the connection ID);
5. frames: ACK and PATH_ACK to recovery, DATAGRAM to the inner side, all others to Python in one event.
"""
from libc.string cimport memcmp, memcpy
from mqvpn.dataplane.acks cimport inbound_t, note_ack, read_ack
from mqvpn.dataplane.aead cimport TAG
from mqvpn.dataplane.crypto cimport SAMPLE, header_masks, keys_installed, keys_t, unseal
from mqvpn.dataplane.datagram cimport datagram_received
from mqvpn.dataplane.events cimport *
from mqvpn.dataplane.frames cimport *
from mqvpn.dataplane.ranges cimport ranges_add, ranges_has
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport *
from mqvpn.dataplane.udp cimport endpoint_t
from mqvpn.dataplane.varint cimport get_varint

cdef enum:
    MASKS = 512                         # datagrams a slot can hold (64 by the kernel's own limit)
    SHORTEST = 1 + CID_BYTES + 4 + TAG  # of a packet whose sample is complete
    FRAME_ENCODING_ERROR = 0x07
    PROTOCOL_VIOLATION = 0x0a
    KEY_UPDATE_ERROR = 0x0e
    AEAD_LIMIT_REACHED = 0x0f
    SHORTEST_RESET = 21                 # RFC 9000, section 10.3

cdef uint8_t samples[MASKS * SAMPLE]
cdef uint8_t gathered[66000]            # the control frames of one packet
cdef uint8_t masks[MASKS * SAMPLE]

cdef void receive_slot(core_t* core, datagram_t* slot, sink_t* sink, double now) noexcept nogil:
    """All datagrams of one receive slot."""
    cdef uint32_t at = 0, size
    cdef cid_entry_t* entry
    while at < slot.length:
        size = slot.segment if slot.length - at > slot.segment else slot.length - at
        if size == 0 or slot.data[at] & 0x80:
            event_slot(core, EVENT_LONG_HEADER, NULL, 0, slot, slot.data + at, size)
        elif size < SHORTEST_RESET or (size < SHORTEST and cid_find(core, slot.data + at + 1) != NULL):
            core.drops[DROP_TOO_SHORT] += 1
        else:
            entry = cid_find(core, slot.data + at + 1)
            if entry == NULL:
                unknown(core, slot, slot.data + at, size, now)
            elif entry.conn.receive_header.cipher == NULL:
                event_slot(core, EVENT_EARLY, entry.conn, 0, slot, slot.data + at, size)
            else:
                at += receive_run(core, entry.conn, slot, at, sink, now)
                continue
        at += size


cdef void unknown(core_t* core, const datagram_t* slot, const uint8_t* data, uint32_t size,
                  double now) noexcept nogil:
    """No connection has this ID: perhaps a stateless reset (RFC 9000, section 10.3.1), perhaps one should be sent."""
    cdef uint32_t i, k
    cdef conn_t* conn
    core.drops[DROP_UNKNOWN_CONNECTION] += 1
    if core.is_server and not event_allowed(&core.limit, now):     # many connections to look through, for any stranger
        return
    for i in range(core.conn_capacity):
        conn = core.conns[i]
        if conn == NULL:
            continue
        for k in range(conn.reset_count):
            if constant_time_equal(conn.reset_tokens + 16 * k, data + size - 16):
                event_bytes(core, EVENT_RESET, conn, NULL, 0)
                return
    if core.is_server or event_allowed(&core.limit, now):
        event_slot(core, EVENT_UNKNOWN, NULL, 0, slot, data, size)


cdef bint constant_time_equal(const uint8_t* a, const uint8_t* b) noexcept nogil:
    cdef uint8_t difference = 0
    cdef int i
    for i in range(16):
        difference |= a[i] ^ b[i]
    return difference == 0


cdef uint32_t receive_run(core_t* core, conn_t* conn, datagram_t* slot, uint32_t first, sink_t* sink,
                          double now) noexcept nogil:
    """The datagrams from `first` on that belong to one connection, masks made together; bytes consumed."""
    cdef uint32_t at = first, size, count = 0
    cdef inbound_t packet
    cdef cid_entry_t* entry
    while at < slot.length and count < MASKS:
        size = slot.segment if slot.length - at > slot.segment else slot.length - at
        if size < SHORTEST or slot.data[at] & 0x80:
            break
        if count and memcmp(slot.data + first + 1, slot.data + at + 1, CID_BYTES) != 0:
            break
        memcpy(samples + SAMPLE * count, slot.data + at + 1 + CID_BYTES + 4, SAMPLE)
        count += 1
        at += size
    if header_masks(&conn.receive_header, samples, masks, <int>count) != 0:
        core.drops[DROP_UNDECRYPTABLE] += count
        return at - first
    entry = cid_find(core, slot.data + first + 1)
    packet.core, packet.conn, packet.slot, packet.sink, packet.now = core, conn, slot, sink, now
    packet.sequence = entry.sequence
    at = first
    size = 0
    while size < count:
        receive_packet(&packet, entry.path_id, slot.data + at,
                       slot.segment if slot.length - at > slot.segment else slot.length - at, masks + SAMPLE * size)
        at += slot.segment if slot.length - at > slot.segment else slot.length - at
        size += 1
    return at - first


cdef inline uint64_t decode_number(uint64_t expected, uint64_t truncated, int bits) noexcept nogil:
    """RFC 9000, appendix A.3."""
    cdef uint64_t window = <uint64_t>1 << bits, half = window >> 1
    cdef uint64_t candidate = (expected & ~(window - 1)) | truncated
    if candidate + half <= expected and candidate < (<uint64_t>1 << 62) - window:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


cdef keys_t* choose_keys(conn_t* conn, path_t* path, uint64_t number, bint phase, int64_t* generation) noexcept nogil:
    """Which generation protected this packet. Paths see a key update each in its own time: one that has not yet is
    behind; on one that has, smaller numbers are of the generation before (RFC 9001, section 6.5)."""
    cdef int64_t seen = path.generation if path != NULL else conn.receive_generation
    if seen < conn.receive_generation - 1:                  # the path slept through two updates
        seen = conn.receive_generation - 1
    generation[0] = seen
    if phase != (seen & 1):
        if seen == conn.receive_generation and path != NULL and path.received.count and number < path.generation_first:
            generation[0] = seen - 1
        else:
            generation[0] = seen + 1
    if generation[0] < 0 or not keys_installed(&conn.receive_keys[generation[0] % 3]):
        return NULL
    if conn.receive_keys[generation[0] % 3].generation != generation[0]:
        return NULL
    return &conn.receive_keys[generation[0] % 3]


cdef void receive_packet(inbound_t* packet, uint32_t path_id, uint8_t* q, uint32_t size,
                         const uint8_t* mask) noexcept nogil:
    """One short-header packet: protection off, then its frames."""
    cdef conn_t* conn = packet.conn
    cdef core_t* core = packet.core
    cdef path_t* path = path_find(conn, path_id)
    cdef int64_t generation = 0
    cdef uint32_t length, i, header
    cdef uint64_t truncated = 0, expected = 0
    cdef keys_t* keys
    q[0] ^= mask[0] & 0x1f
    length = (q[0] & 3) + 1
    header = 1 + CID_BYTES + length
    for i in range(length):
        q[1 + CID_BYTES + i] ^= mask[1 + i]
        truncated = truncated << 8 | q[1 + CID_BYTES + i]
    if path != NULL and path.received.count:
        expected = path.received.items[0].high + 1
    packet.number = decode_number(expected, truncated, 8 * length)
    keys = choose_keys(conn, path, packet.number, (q[0] >> 2) & 1, &generation)
    if keys == NULL or unseal(keys, path_id, packet.number, q, header, q + header, size - header - TAG) != 0:
        core.drops[DROP_UNDECRYPTABLE] += 1
        conn.forged += 1
        if conn.forged == conn.forge_limit:             # RFC 9001, section 6.6: over all keys
            event_error(core, conn, AEAD_LIMIT_REACHED, 0, "too many packets that do not open")
        return
    if q[0] & 0x18:
        event_error(packet.core, packet.conn, PROTOCOL_VIOLATION, 0, "reserved bits set")
        return
    path = path_obtain(conn, path_id)
    if path == NULL:
        core.drops[DROP_NO_MEMORY] += 1
        return
    packet.path = path
    if ranges_has(&path.received, packet.number):
        core.drops[DROP_DUPLICATE] += 1
        return
    packet.generation = generation
    if not note_generation(packet, generation):
        return
    note_arrival(packet, size)
    read_frames(packet, q + header, q + size - TAG)
    note_ack(packet, size)


cdef bint note_generation(inbound_t* packet, int64_t generation) noexcept nogil:
    """A packet of a newer key generation: the path, and perhaps the connection, moves on (RFC 9001, section 6.2).
    False: the peer may not update its keys yet."""
    cdef event_t* event
    cdef conn_t* conn = packet.conn
    if generation > conn.send_generation and conn.acked_generation < conn.receive_generation:
        event_error(packet.core, conn, KEY_UPDATE_ERROR, 0, "keys updated twice without an acknowledgment between")
        return False
    if packet.path.received.count == 0:
        packet.path.generation = generation
        packet.path.generation_first = packet.number
    elif generation > packet.path.generation:
        packet.path.generation = generation
        packet.path.generation_first = packet.number
    if generation <= conn.receive_generation:
        return True
    if conn.send_generation >= generation:          # the peer follows an update of ours
        conn.acked_generation = generation
    conn.receive_generation = generation
    if conn.send_generation < generation and conn.send_keys[generation % 3].generation == generation:
        conn.send_generation = generation
    event = event_new(packet.core, EVENT_KEY_PHASE, conn, 0, 0)
    if event != NULL:
        event.a = <uint64_t>generation
        event_finish(packet.core, event, 0)
    return True


cdef void note_arrival(inbound_t* packet, uint32_t size) noexcept nogil:
    """Count it, and tell Python of a new path or a new address."""
    cdef path_t* path = packet.path
    cdef bint newest = path.received.count == 0 or packet.number > path.received.items[0].high
    cdef bint first = path.received.count == 0
    cdef uint8_t fresh = packet.sequence > path.sequence    # a connection ID that no packet of the path had before
    ranges_add(&path.received, packet.number)
    path.rx_packets += 1
    path.ecn.received[packet.slot.ecn] += 1
    path.rx_bytes += size
    path.received_at = packet.now
    packet.conn.received_at = packet.now
    path.sequence = packet.sequence if fresh else path.sequence
    if newest:
        path.newest_at = packet.now
    if first or memcmp(&path.remote, &packet.slot.remote, sizeof(endpoint_t)) == 0:
        path.address_received += size
    elif memcmp(&path.told, &packet.slot.remote, sizeof(endpoint_t)) == 0:
        path.told_bytes += size
    if not path.opened:
        if first:
            path.remote = packet.slot.remote
            path.local = packet.slot.local
            path.socket = packet.slot.socket
            event_slot(packet.core, EVENT_PATH_NEW, packet.conn, path.id, packet.slot, NULL, 0)
        return
    if newest and not path.abandoned and moved(path, packet.slot):
        path.told = packet.slot.remote
        path.told_bytes = size
        event_slot(packet.core, EVENT_PATH_ADDRESS, packet.conn, path.id, packet.slot, &fresh, 1)


cdef bint moved(path_t* path, const datagram_t* slot) noexcept nogil:
    """The datagram came over another 4-tuple or socket than the path's, and Python was not told yet."""
    if memcmp(&path.remote, &slot.remote, sizeof(endpoint_t)) == 0 and path.socket == slot.socket:
        return False
    return memcmp(&path.told, &slot.remote, sizeof(endpoint_t)) != 0


cdef void read_frames(inbound_t* packet, uint8_t* at, uint8_t* end) noexcept nogil:
    """Act on each frame; those for Python are gathered into one CONTROL event."""
    cdef const uint8_t* p = at
    cdef const uint8_t* body = NULL
    cdef const uint8_t* after = NULL
    cdef uint64_t kind = 0
    cdef frame_kind found
    cdef uint32_t length = 0
    packet.eliciting = packet.urgent = False
    if p == end:
        # RFC 9000, section 12.4: "The payload of a packet that contains no frames" is a PROTOCOL_VIOLATION
        event_error(packet.core, packet.conn, PROTOCOL_VIOLATION, 0, "packet without frames")
        return
    while p < end:
        found = frame_next(p, end, &kind, &body, &after)
        if found == FRAME_BROKEN:
            event_error(packet.core, packet.conn, FRAME_ENCODING_ERROR, kind, "frame cut short")
            return
        if found == FRAME_DATAGRAM:
            packet.eliciting = True
            read_datagram(packet, kind, body, after)
        elif found == FRAME_ACK:
            if not read_ack(packet, kind, body, after):
                return
        elif found == FRAME_PING:
            packet.eliciting = packet.urgent = True
        elif found != FRAME_PADDING:
            packet.eliciting = packet.urgent = True
            if found == FRAME_UNKNOWN:
                after = end
            memcpy(gathered + length, p, after - p)
            length += <uint32_t>(after - p)
        p = after
    if length and not packet.conn.closed:
        tell_control(packet, gathered, length)


cdef void tell_control(inbound_t* packet, const uint8_t* frames, uint32_t length) noexcept nogil:
    cdef event_t* event = event_new(packet.core, EVENT_CONTROL, packet.conn, packet.path.id, length)
    if event == NULL:
        return
    event.a = packet.sequence
    memcpy(event_data(event), frames, length)
    event_finish(packet.core, event, length)


cdef void read_datagram(inbound_t* packet, uint64_t kind, const uint8_t* body, const uint8_t* after) noexcept nogil:
    cdef uint64_t length = 0
    if kind == 0x31:
        body = get_varint(body, after, &length)
    if not packet.conn.closed:
        datagram_received(packet.core, packet.conn, packet.path, <uint8_t*>body, <uint32_t>(after - body), packet.sink,
                          packet.now)
