# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The engine: every 1-RTT packet of every connection. It does no I/O and reads no clock.

Its parts, in the order a packet meets them: `receive` (protection, frames), `ranges` and `recovery` (what was
received and sent), `inner` (IP packets and sessions), `flow` (the queue), `schedule` (which path), `transmit` and
`burst`, `reinject`, `timers`, `tidy`; `table` finds connections and keeps events; `state.pxd` shows all structures.
This module is its face to Python: an Engine, its Connections, and events as tuples (engine.pyi).
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from mqvpn.dataplane.burst cimport output_t
from mqvpn.dataplane.deadlines cimport deadline_first, deadline_set, deadlines_clear
from mqvpn.dataplane.events cimport event_data
from mqvpn.dataplane.held cimport released_free
from mqvpn.dataplane.inner cimport packet_accept, packet_queue
from mqvpn.dataplane.packet cimport PacketBatch, PacketRefs
from mqvpn.dataplane.receive cimport receive_slot
from mqvpn.dataplane.resequence cimport SPREAD_BYTES as FLOW_AND_NUMBER
from mqvpn.dataplane.session cimport Connection as Compiled
from mqvpn.dataplane.stamps cimport STAMP_BYTES as STAMP_LENGTH
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport conn_ready, conn_take
from mqvpn.dataplane.timers cimport conn_deadline, timeouts
from mqvpn.dataplane.transmit cimport serve
from mqvpn.dataplane.udp cimport (
    Bursts, Datagrams, datagram_t, endpoint_from_python, endpoint_to_python)

import os

from mqvpn.dataplane.crypto import AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305  # no-cython-lint
from mqvpn.dataplane.resequence import OrderStats  # no-cython-lint
from mqvpn.dataplane.session import Connection, PathStats  # no-cython-lint

Endpoint = tuple[str, int]
Prefix = tuple[bytes, int]
Elsewhere = tuple
ReorderRule = tuple

LONG_HEADER = EVENT_LONG_HEADER
EARLY = EVENT_EARLY
UNKNOWN = EVENT_UNKNOWN
CONTROL = EVENT_CONTROL
TOKEN = EVENT_TOKEN
PATH_NEW = EVENT_PATH_NEW
PATH_ADDRESS = EVENT_PATH_ADDRESS
PATH_SUSPECT = EVENT_PATH_SUSPECT
PATH_ALIVE = EVENT_PATH_ALIVE
KEY_PHASE = EVENT_KEY_PHASE
ERROR = EVENT_ERROR
DATAGRAM = EVENT_DATAGRAM
TOO_BIG = EVENT_TOO_BIG
UNREACHABLE = EVENT_UNREACHABLE
RESET = EVENT_RESET
LARGE_LOST = EVENT_LARGE_LOST
KEY_LIMIT = EVENT_KEY_LIMIT
PACKET = EVENT_PACKET

RECEIVE = 0
SEND = 1
ANY_PATH = ANY
SPREAD_BYTES = FLOW_AND_NUMBER
STAMP_BYTES = STAMP_LENGTH
OVERHEAD = 1 + CID_BYTES + 4 + 3 + 16   # short header, DATAGRAM with quarter stream ID and context, tag

cdef enum:
    KEPT_BYTES = 2048           # a packet handed to receive_one()
    KEPT = 16                   # of them whose IP packets stay valid


cdef object bytes_of(event_t* event):
    return (<char*>event_data(event))[:event.length]


cdef object event_to_python(event_t* e):
    """One record as the tuple that engine.pyi describes."""
    cdef int kind = e.kind
    if kind == EVENT_TOKEN:
        return (kind, e.conn, e.a, e.b != 0)
    if kind == EVENT_CONTROL:
        return (kind, e.conn, e.path, bytes_of(e), e.a)
    if kind == EVENT_LONG_HEADER or kind == EVENT_UNKNOWN:
        return (kind, e.socket, endpoint_to_python(&e.remote), endpoint_to_python(&e.local), bytes_of(e))
    if kind == EVENT_EARLY:
        return (kind, e.conn, e.socket, endpoint_to_python(&e.remote), endpoint_to_python(&e.local), bytes_of(e))
    if kind == EVENT_PATH_NEW or kind == EVENT_PATH_ADDRESS:
        found = (kind, e.conn, e.path, e.socket, endpoint_to_python(&e.remote), endpoint_to_python(&e.local))
        return found if kind == EVENT_PATH_NEW else (*found, bytes_of(e) != b"\0")
    if kind == EVENT_PATH_SUSPECT or kind == EVENT_PATH_ALIVE or kind == EVENT_LARGE_LOST:
        return (kind, e.conn, e.path)
    if kind == EVENT_ERROR:
        return (kind, e.conn, e.a, e.b, bytes_of(e).decode("ascii"))
    if kind == EVENT_KEY_PHASE:
        return (kind, e.conn, e.a)
    if kind == EVENT_DATAGRAM or kind == EVENT_PACKET:
        return (kind, e.conn, bytes_of(e))
    if kind == EVENT_TOO_BIG:
        return (kind, e.conn, bytes_of(e), e.a)
    if kind == EVENT_UNREACHABLE:
        return (kind, e.conn if e.b else None, bytes_of(e), e.a)
    return (kind, e.conn)


cdef class Engine:
    def __cinit__(self, *, bint is_server, seed=None):
        self.core.is_server = is_server
        self.core.seed = int.from_bytes(os.urandom(8), "big") if seed is None else seed
        self.kept = <uint8_t*>calloc(KEPT, KEPT_BYTES)
        if self.kept == NULL:
            raise MemoryError
        self.next_id = 0

    def __dealloc__(self):
        # Connections hold a reference to their engine: when this runs, none is left.
        released_free(&self.core)
        free(self.core.conns)
        deadlines_clear(&self.core.deadlines)
        free(self.core.cids)
        free(self.core.routes)
        free(self.core.arena)
        free(self.kept)

    def connection(self, *, bint is_client):
        return Compiled(self, is_client=is_client)

    def set_default(self, Compiled connection):
        self.core.default_conn = connection.conn if connection is not None else NULL

    cpdef receive(self, Datagrams datagrams, PacketRefs out, double now):
        cdef sink_t sink
        cdef int i
        released_free(&self.core)
        sink.items, sink.count, sink.capacity = out.items, &out.count, out.capacity
        for i in range(datagrams.count):
            receive_slot(&self.core, &datagrams.items[i], &sink, now)

    def receive_one(self, bytes data, int socket, remote, local, PacketRefs out, double now):
        cdef datagram_t slot
        cdef sink_t sink
        if len(data) > KEPT_BYTES:
            self.core.drops[DROP_TOO_BIG] += 1
            return
        memset(&slot, 0, sizeof(datagram_t))
        endpoint_from_python(&slot.remote, remote)
        if local is not None:
            endpoint_from_python(&slot.local, local)
        slot.socket = <uint8_t>socket
        slot.data = self.kept + KEPT_BYTES * (self.kept_next % KEPT)
        slot.length = <uint32_t>len(data)
        slot.segment = <uint16_t>slot.length
        self.kept_next += 1
        memcpy(slot.data, <char*>data, slot.length)
        released_free(&self.core)
        sink.items, sink.count, sink.capacity = out.items, &out.count, out.capacity
        receive_slot(&self.core, &slot, &sink, now)

    cpdef from_tun(self, PacketBatch packets, double now):
        cdef int i
        for i in range(packets.count):
            packet_accept(&self.core, packets.items[i], now)
        packets.count = 0

    def to_peer(self, Compiled connection, PacketBatch packets, double now):
        cdef int i
        for i in range(packets.count):
            packet_queue(&self.core, connection.live(), packets.items[i], now)
        packets.count = 0

    cpdef int transmit(self, Bursts bursts, double now):
        cdef output_t out
        cdef conn_t* conn
        cdef bint done = True
        bursts.count = 0
        out.core, out.items, out.count, out.bytes = &self.core, bursts.items, 0, 0
        out.capacity, out.now = bursts.capacity, now
        while done:
            conn = conn_take(&self.core)
            if conn == NULL:
                break
            done = serve(&out, conn)
            if not done:
                conn_ready(&self.core, conn)
            deadline_set(&self.core.deadlines, conn.id, conn_deadline(conn, now))
        bursts.count = out.count
        return out.count

    cdef double due(self) noexcept:
        """When timeout() has something to do; 0.0: never."""
        return deadline_first(&self.core.deadlines)

    def next_timeout(self):
        cdef double at = self.due()
        return at if at != 0.0 else None

    cpdef timeout(self, PacketRefs out, double now):
        cdef sink_t sink
        released_free(&self.core)
        sink.items, sink.count, sink.capacity = out.items, &out.count, out.capacity
        timeouts(&self.core, &sink, now, 0)

    def has_events(self):
        return self.core.arena_used != 0

    def events(self):
        cdef list found = []
        cdef uint32_t at = 0
        cdef event_t* event
        while at < self.core.arena_used:
            event = <event_t*>(self.core.arena + at)
            found.append(event_to_python(event))
            at += event.size
        self.core.arena_used = 0
        return found

    def drops(self):
        cdef int i
        return [self.core.drops[i] for i in range(DROPS)]
