# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A connection's face to Python: keys, connection IDs, paths, the bound request stream, control frames."""
from collections import namedtuple

cimport cython

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from mqvpn.dataplane.congestion cimport BBR, CUBIC, NONE, congestion_choose, congestion_kind
from mqvpn.dataplane.crypto cimport header_keys_clear, header_keys_install, keys_clear, keys_install, keys_t
from mqvpn.dataplane.ecn cimport CE, ECN_CAPABLE, ecn_reset
from mqvpn.dataplane.events cimport event_token, owner_t
from mqvpn.dataplane.flow cimport queue_clear
from mqvpn.dataplane.inner cimport packet_allowed
from mqvpn.dataplane.recovery cimport recovery_give_up, recovery_pto, recovery_restart
from mqvpn.dataplane.reinject cimport kept_clear, reinject_begin
from mqvpn.dataplane.resequence cimport order_figures, spread_clear
from mqvpn.dataplane.stamps cimport stamps_load
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport *
from mqvpn.dataplane.udp cimport endpoint_from_python, endpoint_t
from mqvpn.dataplane.varint cimport put_varint

cdef enum:
    CONTROL_BYTES = 65536           # control frames queued at most

PathStats = namedtuple("PathStats", (
    "srtt rttvar min_rtt latest_rtt pto cwnd in_flight delivery_rate mtu tx_bytes rx_bytes tx_packets rx_packets"
    " acked lost usable suspect pacing_rate spurious ecn congestion_marks"))


@cython.no_gc_clear             # __dealloc__ needs the engine, in whatever order a cycle is collected
cdef class Connection:
    def __cinit__(self, Engine engine, *, bint is_client):
        self.engine = engine
        self.conn = <conn_t*>calloc(1, sizeof(conn_t))
        if self.conn == NULL:
            raise MemoryError
        self.conn.is_client = is_client
        self.conn.quarter_stream = -1
        self.conn.multipath = True
        self.conn.ack_delay_exponent = 3
        self.conn.peer_ack_delay = 0.025
        self.conn.peer_datagram = 65535
        self.conn.path_limit = 0xffffffff
        self.conn.scheduler = WLB
        if conn_enlist(&engine.core, self.conn, engine.next_id) != 0:
            free(self.conn)
            self.conn = NULL
            raise MemoryError
        engine.next_id = self.conn.id + 1
        engine.core.seed = engine.core.seed * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
        self.conn.seed = engine.core.seed

    def __dealloc__(self):
        self.release()

    cdef conn_t* live(self) except NULL:
        if self.conn == NULL:
            raise ValueError("the connection was closed")
        return self.conn

    cdef path_t* path_of(self, path_id) except NULL:
        cdef path_t* path = path_find(self.live(), path_id)
        if path == NULL:
            raise KeyError(path_id)
        return path

    @property
    def id(self):
        return self.live().id

    @property
    def last_received(self):
        return self.live().received_at

    def set_keys(self, int direction, int64_t generation, int suite, bytes key, bytes iv, bytes hp):
        cdef conn_t* conn = self.live()
        cdef bint seals = direction == 1
        cdef keys_t* keys = &conn.send_keys[generation % 3] if seals else &conn.receive_keys[generation % 3]
        cdef header_keys_t* header = &conn.send_header if seals else &conn.receive_header
        if keys_install(keys, suite, key, iv, seals) != 0:
            raise ValueError("libcrypto does not offer this cipher")
        keys.generation = generation
        if generation == 0 and header_keys_install(header, suite, hp) != 0:
            raise ValueError("libcrypto does not offer this cipher")
        conn_ready(&self.engine.core, conn)

    def update_keys(self):
        cdef conn_t* conn = self.live()
        cdef int64_t generation = conn.send_generation + 1
        if conn.send_keys[generation % 3].generation != generation:
            raise ValueError("the next keys are not installed")
        conn.send_generation = generation

    def drop_keys(self, int64_t generation):
        cdef keys_t* keys = &self.live().receive_keys[generation % 3]
        if generation < self.conn.receive_generation and keys.generation == generation:
            keys_clear(keys)

    def keys_confirmed(self):
        return conn_keys_confirmed(self.live())

    def set_aead_limits(self, uint64_t sealed, uint64_t forged):
        self.live().seal_limit = sealed
        self.conn.forge_limit = forged

    def aead_counts(self):
        return (self.live().sealed, self.conn.forged)

    def set_peer(self, uint32_t ack_delay_exponent, double max_ack_delay, uint32_t max_datagram_frame_size,
                 uint32_t max_udp_payload):
        cdef conn_t* conn = self.live()
        cdef int i
        conn.ack_delay_exponent = ack_delay_exponent
        conn.peer_ack_delay = max_ack_delay
        conn.peer_datagram = max_datagram_frame_size
        conn.peer_payload = max_udp_payload
        for i in range(PATHS):
            if conn.paths[i] != NULL:
                conn.paths[i].sent.peer_delay = max_ack_delay

    def set_multipath(self, bint enabled):
        self.live().multipath = enabled

    def set_path_limit(self, uint32_t path_id):
        self.live().path_limit = path_id

    def set_reset_tokens(self, tokens):
        cdef conn_t* conn = self.live()
        cdef uint8_t* copy = <uint8_t*>calloc(len(tokens) or 1, 16)
        cdef int i
        if copy == NULL:
            raise MemoryError
        for i, token in enumerate(tokens):
            memcpy(copy + 16 * i, <char*><bytes>token, 16)
        free(conn.reset_tokens)
        conn.reset_tokens = copy
        conn.reset_count = len(tokens)

    def add_cid(self, bytes cid, uint32_t path_id, uint32_t sequence=0):
        if len(cid) != CID_BYTES:
            raise ValueError(f"connection IDs of ours have {CID_BYTES} bytes")
        cdef int failed = cid_add(&self.engine.core, <const uint8_t*><char*>cid, self.live(), path_id, sequence)
        if failed < 0:
            raise MemoryError
        if failed:
            raise ValueError("the connection ID is in use")

    def del_cid(self, bytes cid):
        if len(cid) == CID_BYTES:
            cid_remove(&self.engine.core, <const uint8_t*><char*>cid)

    def open_path(self, uint32_t path_id, int socket, remote, local, bytes dcid):
        cdef path_t* path = path_obtain(self.live(), path_id)
        if path == NULL:
            raise MemoryError("no slot for another path")
        self.place_path(path, socket, remote, local)
        self.set_dcid(path_id, dcid)
        path.opened = True
        conn_ready(&self.engine.core, self.conn)

    cdef int place_path(self, path_t* path, int socket, object remote, object local) except -1:
        endpoint_from_python(&path.remote, remote)
        endpoint_from_python(&path.local, local or ("::", 0))
        path.socket = <uint8_t>socket
        memset(&path.told, 0, sizeof(endpoint_t))
        return 0

    def set_path(self, uint32_t path_id, *, validated=None, usable=None, narrow=None, backup=None, weight=None,
                 mtu=None):
        cdef path_t* path = self.path_of(path_id)
        path.validated = path.validated if validated is None else validated
        path.usable = path.usable if usable is None else usable
        path.narrow = path.narrow if narrow is None else narrow
        path.backup = path.backup if backup is None else backup
        path.weight = path.weight if weight is None else weight
        if mtu is not None:
            path.mtu = path.sent.cc.segment = <uint16_t>mtu
        conn_ready(&self.engine.core, self.conn)

    def set_dcid(self, uint32_t path_id, bytes dcid):
        cdef path_t* path = self.path_of(path_id)
        if len(dcid) > 20:
            raise ValueError("a connection ID has at most 20 bytes")
        memcpy(path.dcid, <char*>dcid, len(dcid))
        path.dcid_length = <uint8_t>len(dcid)

    def set_address(self, uint32_t path_id, int socket, remote, local):
        cdef path_t* path = self.path_of(path_id)
        cdef endpoint_t told = path.told
        self.place_path(path, socket, remote, local)
        path.address_sent = path.address_received = 0
        if memcmp(&told, &path.remote, sizeof(endpoint_t)) == 0:
            path.address_received = path.told_bytes
        conn_ready(&self.engine.core, self.conn)

    def restart_path(self, uint32_t path_id):
        cdef path_t* path = self.path_of(path_id)
        recovery_restart(&path.sent, path.mtu)
        ecn_reset(&path.ecn, path.sent.next)
        conn_ready(&self.engine.core, self.conn)

    def abandon_path(self, uint32_t path_id):
        cdef path_t* path = self.path_of(path_id)
        reinject_begin(self.conn, path)
        self.give_up(path)
        path.abandoned = True
        path.usable = False
        conn_ready(&self.engine.core, self.conn)

    cdef void give_up(self, path_t* path):
        cdef owner_t owner
        owner.core, owner.conn = &self.engine.core, self.conn
        recovery_give_up(&path.sent, True, event_token, &owner)

    def forget_path(self, uint32_t path_id):
        path_remove(self.live(), path_id)

    def bind(self, int64_t quarter_stream_id, *, bint capsules=False):
        cdef conn_t* conn = self.live()
        conn.capsules = capsules
        conn.quarter_stream = quarter_stream_id
        conn.prefix[0] = 0x30
        conn.prefix_length = 1 + put_varint(conn.prefix + 1, quarter_stream_id)
        conn.prefix_length += put_varint(conn.prefix + conn.prefix_length, 0)

    def unbind(self):
        self.live().quarter_stream = -1
        queue_clear(&self.conn.queue)

    def allow(self, local, remote):
        cdef conn_t* conn = self.live()
        cdef prefix_t* near = prefixes_from_python(local)
        cdef prefix_t* far = NULL
        try:
            far = prefixes_from_python(remote)
            self.route(far, len(remote))
        except BaseException:
            free(near)
            free(far)
            raise
        free(conn.local)
        free(conn.remote)
        conn.local, conn.local_count = near, len(local)
        conn.remote, conn.remote_count = far, len(remote)

    cdef int route(self, const prefix_t* prefixes, uint32_t count) except -1:
        """On a server, lead the peer's host addresses here."""
        cdef core_t* core = &self.engine.core
        cdef uint32_t i
        if not core.is_server:
            return 0
        for i in range(count):
            if prefixes[i].length == 128 and route_find(core, prefixes[i].ip) not in (NULL, self.conn):
                raise ValueError("the address leads to another connection")
        route_remove_all(core, self.conn)
        for i in range(count):
            if prefixes[i].length == 128 and route_add(core, prefixes[i].ip, self.conn) < 0:
                raise MemoryError
        return 0

    def set_capsule_room(self, int64_t room):
        self.live().capsule_room = room
        if self.conn.queue.first != NULL:
            conn_ready(&self.engine.core, self.conn)

    def accept_packet(self, bytes packet, double now):
        cdef conn_t* conn = self.live()
        if not packet_allowed(&self.engine.core, conn, <const uint8_t*><char*>packet, <uint32_t>len(packet), now):
            return False
        conn.ip_received += 1
        conn.ip_received_bytes += len(packet)
        return True

    def send(self, bytes frames, int64_t path_id=ANY, uint32_t token=0, uint16_t pad_to=0, bint mtu_probe=False,
             elsewhere=None):
        self.enqueue(frames, path_id, token, pad_to)
        self.conn.control_tail.mtu_probe = mtu_probe
        if elsewhere is not None:
            socket, remote, local, dcid = elsewhere
            control_lead(self.conn.control_tail, socket, remote, local, dcid)

    def close_now(self, bytes frames, int64_t path_id=ANY):
        self.live().closed = True
        queue_clear(&self.conn.queue)
        if frames:
            self.enqueue(frames, path_id, 0, 0)
            self.conn.control_tail.closing = True

    cdef int enqueue(self, bytes frames, int64_t path_id, uint32_t token, uint16_t pad_to) except -1:
        cdef conn_t* conn = self.live()
        cdef control_t* item = <control_t*>malloc(sizeof(control_t) + len(frames))
        if item == NULL:
            raise MemoryError
        memset(item, 0, sizeof(control_t))
        item.path_id, item.token, item.pad_to = path_id, token, pad_to
        item.length = <uint16_t>len(frames)
        memcpy(<uint8_t*>item + sizeof(control_t), <char*>frames, len(frames))
        if conn.control_head == NULL:
            conn.control_head = item
        else:
            conn.control_tail.next = item
        conn.control_tail = item
        conn.control_bytes += item.length
        conn_ready(&self.engine.core, conn)
        return 0

    def room(self):
        cdef uint32_t used = self.live().control_bytes
        return CONTROL_BYTES - used if used < CONTROL_BYTES else 0

    def path(self, uint32_t path_id):
        cdef path_t* p = self.path_of(path_id)
        return PathStats(
            p.sent.srtt, p.sent.rttvar, p.sent.min_rtt, p.sent.latest, recovery_pto(&p.sent), <uint64_t>p.sent.cc.cwnd,
            p.sent.in_flight, p.sent.rate, p.mtu, p.tx_bytes, p.rx_bytes, p.tx_packets, p.rx_packets,
            p.sent.acked_packets, p.sent.lost_packets, bool(p.usable), bool(p.suspect), p.sent.cc.rate,
            p.sent.reorder.spurious, p.ecn.state == ECN_CAPABLE, p.ecn.told[CE])

    def path_ids(self):
        cdef int i
        return [self.conn.paths[i].id for i in range(PATHS) if self.live().paths[i] != NULL]

    def largest_pto(self):
        cdef double most = 0.0
        cdef int i
        for i in range(PATHS):
            if self.live().paths[i] != NULL:
                most = max(most, recovery_pto(&self.conn.paths[i].sent))
        return most

    def set_scheduler(self, name):
        self.live().scheduler = {"minrtt": MINRTT, "wlb": WLB, "wlb_udp_pin": WLB_UDP_PIN, "redundant": REDUNDANT}[name]

    def set_spread(self, bint enabled):
        self.live().spread = enabled

    def set_reorder(self, rules):
        stamps_load(self.live(), rules)

    def set_reinjection(self, bint enabled):
        self.live().reinjection = enabled

    def set_congestion(self, name):
        cdef conn_t* conn = self.live()
        cdef congestion_kind kind = {"cubic": CUBIC, "bbr": BBR, "none": NONE}[name]
        cdef int i
        if kind == conn.congestion:
            return
        conn.congestion = kind
        for i in range(PATHS):
            if conn.paths[i] != NULL:
                congestion_choose(&conn.paths[i].sent.cc, kind)

    def set_keep_alive(self, double seconds):
        self.live().keep_alive = seconds
        conn_ready(&self.engine.core, self.conn)

    def counters(self):
        return (self.live().ip_sent, self.conn.ip_sent_bytes, self.conn.ip_received, self.conn.ip_received_bytes)

    def order(self):
        return order_figures(self.live())

    def queued(self):
        return (self.live().queue.packets, self.conn.queue.bytes)

    def close(self):
        self.release()

    cdef void release(self):
        cdef conn_t* conn = self.conn
        cdef core_t* core = &self.engine.core
        cdef int i
        if conn == NULL:
            return
        self.conn = NULL
        cid_remove_all(core, conn)
        route_remove_all(core, conn)
        conn_delist(core, conn)
        if core.default_conn == conn:
            core.default_conn = NULL
        queue_clear(&conn.queue)
        spread_clear(conn)
        kept_clear(core, conn)
        control_clear(conn)
        for i in range(PATHS):
            if conn.paths[i] != NULL:
                path_remove(conn, conn.paths[i].id)
        for i in range(3):
            keys_clear(&conn.send_keys[i])
            keys_clear(&conn.receive_keys[i])
        header_keys_clear(&conn.send_header)
        header_keys_clear(&conn.receive_header)
        free(conn.local)
        free(conn.remote)
        free(conn.reset_tokens)
        free(conn)
