# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""HTTP datagrams in: quarter stream ID, Context ID, and what the context means.

RFC 9297, section 2.1; RFC 9484, section 6 (Context ID 0 is an IP packet, or one behind a stamp: `stamps`);
`resequence` has context 2.
"""
from libc.stdint cimport int64_t, uint64_t
from mqvpn.dataplane.events cimport event_allowed, event_bytes
from mqvpn.dataplane.inner cimport packet_allowed, packet_deliver
from mqvpn.dataplane.resequence cimport SPREAD_CONTEXT, spread_received
from mqvpn.dataplane.stamps cimport STAMP, stamp_received
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.varint cimport get_varint


cdef int slot_of(const conn_t* conn, const path_t* path) noexcept nogil:
    cdef int i
    for i in range(PATHS):
        if conn.paths[i] == path:
            return i
    return 0


cdef void datagram_received(core_t* core, conn_t* conn, path_t* path, uint8_t* data, uint32_t length, sink_t* sink,
                            double now) noexcept nogil:
    """The payload of a DATAGRAM frame that came on that path."""
    cdef const uint8_t* end = data + length
    cdef const uint8_t* at
    cdef uint64_t stream = 0, context = 0
    at = get_varint(data, end, &stream)
    if at == NULL:  # RFC 9297, section 2.1: an error of the connection, H3_DATAGRAM_ERROR
        core.drops[DROP_TOO_SHORT] += 1
        event_bytes(core, EVENT_DATAGRAM, conn, data, length)
        return
    at = get_varint(at, end, &context)
    if at == NULL:
        core.drops[DROP_TOO_SHORT] += 1
        return
    length = <uint32_t>(end - at)
    if <int64_t>stream == conn.quarter_stream:
        if context == 0:
            if conn.stamps != NULL and length and at[0] == STAMP:
                stamp_received(core, conn, slot_of(conn, path), at, length, sink, now)
                return
            if packet_allowed(core, conn, at, length, now):
                packet_deliver(core, conn, at, length, sink)
            return
        if context == SPREAD_CONTEXT and conn.spread:
            spread_received(core, conn, slot_of(conn, path), at, length, sink, now)
            return
    core.drops[DROP_UNKNOWN_CONTEXT if context else DROP_UNKNOWN_STREAM] += 1
    if event_allowed(&conn.limit, now):
        event_bytes(core, EVENT_DATAGRAM, conn, data, <uint32_t>(end - data))
