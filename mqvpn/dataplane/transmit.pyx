# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The way out. In order of precedence: PATH_ACKs, control frames, probes, IP packets (burst.pyx).

Only where the next IP packet is small does the ack of its path wait for it, to ride along.
"""
from libc.stdlib cimport free
from mqvpn.dataplane.acks cimport ack_due, ack_frame, ack_left
from mqvpn.dataplane.burst cimport RIDER, close_burst, may_send, send_packets, write_frames
from mqvpn.dataplane.congestion cimport congestion_unexplored
from mqvpn.dataplane.crypto cimport keys_installed
from mqvpn.dataplane.events cimport event_limits
from mqvpn.dataplane.inner cimport packets_hand_over
from mqvpn.dataplane.ranges cimport ACK_BYTES
from mqvpn.dataplane.recovery cimport ACK_ONLY, CONTROL_ONLY, ELSEWHERE, MTU_PROBE, sent_kind
from mqvpn.dataplane.schedule cimport control_path
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport control_turn, path_find

# RFC 8289, section 4.3, gives 5 ms for links of constant rate; acks and bursts of outer paths come in steps of more.
cdef double TARGET = 0.015
cdef double PATIENCE = 0.1          # the same while a path's rate is not known yet, or held back on purpose

cdef uint8_t PING[4]
PING[0] = 1                         # PING and three PADDING frames


# Acknowledgements.

cdef inline bint may_ride(const conn_t* conn, const path_t* path) noexcept nogil:
    """The next IP packet is so small that the path's ack can go with it."""
    return (conn.queue.first != NULL and conn.queue.first.head.length <= RIDER and path.usable
            and conn.quarter_stream >= 0 and not conn.capsules)


cdef bint send_acks(output_t* out, conn_t* conn, bint wait) noexcept nogil:
    """One PATH_ACK for each path that owes one, on its own path while that works, else on the best other. wait: not
    those that may ride with a small IP packet, which is about to be sent."""
    cdef uint8_t frame[ACK_BYTES]
    cdef uint32_t length
    cdef path_t* path
    cdef path_t* carrier
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL or not ack_due(path, out.now) or (wait and may_ride(conn, path)):
            continue
        carrier = path
        if not path.opened or path.abandoned or path.suspect:
            carrier = control_path(conn, out.now)
        if carrier == NULL or not may_send(conn, carrier, 100):
            path.ack_at = 0.0
            continue
        length = ack_frame(conn, path, frame, out.now)
        if length and not write_frames(out, conn, carrier, frame, length, 0, ACK_ONLY, 0):
            return False
        ack_left(conn, path)
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
    if item.elsewhere:
        return path == NULL or not path.opened
    if path == NULL or not may_send(conn, path, item.length + 40):
        return True
    if item.path_id != ANY or item.closing or path.sent.in_flight + item.length <= path.sent.cc.cwnd:
        return False
    return path.beyond == 0


cdef uint16_t padding(const conn_t* conn, const path_t* path, const control_t* item) noexcept nogil:
    """RFC 9000, section 8.2.1: a challenge is not padded where the anti-amplification limit does not permit it."""
    return item.pad_to if item.elsewhere or may_send(conn, path, item.pad_to) else 0


cdef inline sent_kind kind_of(const control_t* item) noexcept nogil:
    if item.closing:
        return ACK_ONLY
    if item.elsewhere:
        return ELSEWHERE
    return MTU_PROBE if item.mtu_probe else CONTROL_ONLY


cdef bint write_item(output_t* out, conn_t* conn, path_t* path, control_t* item) noexcept nogil:
    """One packet of what Python queued. What goes elsewhere does not count for the limit of the path's own address."""
    cdef uint64_t counted = path.address_sent
    cdef uint16_t pad_to = padding(conn, path, item)
    cdef bint done
    if item.elsewhere:
        close_burst(conn, path)                 # while it leads where it does
        control_turn(path, item)
    done = write_frames(out, conn, path, <uint8_t*>item + sizeof(control_t), item.length, pad_to, kind_of(item),
                        item.token)
    if item.elsewhere:
        control_turn(path, item)
        path.address_sent = counted
    return done


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
            if not write_item(out, conn, path, item):
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


cdef double target_of(const conn_t* conn) noexcept nogil:
    """Seconds that packets may wait before their sender is told to slow down. A queue before a path that is only being
    explored says nothing of what the path can carry."""
    cdef const path_t* path
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path != NULL and path.usable and (path.sent.cc.holding or (
                congestion_unexplored(&path.sent.cc) and 2 * path.sent.in_flight >= path.sent.cc.cwnd)):
            return PATIENCE
    return TARGET


cdef bint serve(output_t* out, conn_t* conn) noexcept nogil:
    """Everything this connection may send now. False: the slots ran out first, serve it again."""
    cdef int i
    cdef bint done
    if conn.send_header.cipher == NULL or not keys_installed(&conn.send_keys[conn.send_generation % 3]):
        return True
    for i in range(PATHS):
        if conn.paths[i] != NULL:
            conn.paths[i].burst = NULL
    done = (conn.closed or send_acks(out, conn, True)) and send_control(out, conn)
    if done and not conn.closed:
        event_limits(out.core, conn)
        if conn.capsules:
            packets_hand_over(out.core, conn, target_of(conn), out.now)
        done = send_probes(out, conn) and (
            conn.quarter_stream < 0 or conn.capsules or send_packets(out, conn, target_of(conn)))
        done = done and send_acks(out, conn, False)
    for i in range(PATHS):
        if conn.paths[i] != NULL:
            close_burst(conn, conn.paths[i])
    return done
