# What the engine knows: connections, their paths, and the tables that lead to them. Plain C structures; no behaviour.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from mqvpn.dataplane.congestion cimport congestion_kind
from mqvpn.dataplane.crypto cimport header_keys_t, keys_t
from mqvpn.dataplane.deadlines cimport deadlines_t
from mqvpn.dataplane.ecn cimport ecn_t
from mqvpn.dataplane.flow cimport queue_t
from mqvpn.dataplane.packet cimport packet_ref_t, packet_t
from mqvpn.dataplane.ranges cimport ranges_t
from mqvpn.dataplane.recovery cimport recovery_t
from mqvpn.dataplane.udp cimport burst_t, endpoint_t

cdef enum:
    PATHS = 16                      # paths of a connection at a time, draining ones included
    CID_BYTES = 8                   # every connection ID of ours
    DROPS = 32
    LANES = 64                      # flows of one connection that are put in order at a time
    WAITS = 10                      # classes of how long they waited
    RULES = 16
    ANY = -1

cdef enum:                          # wire.drop.Drop
    DROP_TOO_SHORT = 0
    DROP_NOT_IP = 1
    DROP_SOURCE_NOT_ASSIGNED = 2
    DROP_NO_ROUTE = 3
    DROP_HOP_LIMIT = 4
    DROP_NO_PATH = 5
    DROP_TOO_BIG = 6
    DROP_QUEUE_FULL = 7
    DROP_QUEUE_DELAY = 8
    DROP_UNKNOWN_CONNECTION = 9
    DROP_UNDECRYPTABLE = 10
    DROP_DUPLICATE = 11
    DROP_UNKNOWN_CONTEXT = 12
    DROP_UNKNOWN_STREAM = 13
    DROP_LINK_LOCAL = 17
    DROP_DATAGRAM_LOST = 19
    DROP_NO_MEMORY = 20

cdef enum event_kind:               # engine.pyi says what follows each
    EVENT_LONG_HEADER = 1
    EVENT_EARLY = 2
    EVENT_UNKNOWN = 3
    EVENT_CONTROL = 4
    EVENT_TOKEN = 5
    EVENT_PATH_NEW = 6
    EVENT_PATH_ADDRESS = 7
    EVENT_PATH_SUSPECT = 8
    EVENT_PATH_ALIVE = 9
    EVENT_KEY_PHASE = 10
    EVENT_ERROR = 11
    EVENT_DATAGRAM = 12
    EVENT_TOO_BIG = 13
    EVENT_UNREACHABLE = 14
    EVENT_RESET = 15
    EVENT_LARGE_LOST = 16
    EVENT_KEY_LIMIT = 17
    EVENT_PACKET = 18

cdef enum scheduler_kind:
    MINRTT = 0
    WLB = 1
    WLB_UDP_PIN = 2
    REDUNDANT = 3

cdef struct control_t:              # the frames of one packet, from Python
    control_t* next
    int64_t path_id                 # ANY: the best usable path
    uint32_t token
    uint16_t pad_to                 # UDP payload to fill with PADDING; 0: none
    uint16_t length
    uint8_t closing                 # CONNECTION_CLOSE: sent even though the connection is closed
    uint8_t mtu_probe               # its loss says nothing about congestion
    bint elsewhere                  # not to the path's own address, but as follows
    endpoint_t remote
    endpoint_t local
    uint8_t socket
    uint8_t dcid_length
    uint8_t dcid[20]

cdef struct path_t:
    uint32_t id
    bint opened                     # Python gave it an address and a connection ID
    bint validated                  # no anti-amplification limit
    bint usable                     # IP packets may be scheduled
    bint backup
    double weight                   # of its share of flows
    bint abandoned                  # nothing more is sent
    bint suspect                    # silent for a PTO; probed, used only if nothing better is there
    bint narrow                     # large packets vanish there, it seems: used like that until Python knows better
    uint8_t socket
    uint8_t dcid_length
    uint8_t dcid[20]
    endpoint_t remote
    endpoint_t local
    endpoint_t told                 # the last other remote address told by PATH_ADDRESS
    uint64_t told_bytes             # received from there
    uint32_t sequence               # the highest one of our connection IDs that the path's packets came to
    uint64_t address_sent           # bytes, since the path has its address: the anti-amplification limit
    uint64_t address_received
    uint16_t mtu                    # UDP payload bytes of a full packet
    recovery_t sent
    ecn_t ecn
    ranges_t received
    int64_t generation              # newest key generation received, and the first number that used it
    uint64_t generation_first
    int64_t sealed_generation       # newest key generation sent with, and the first number that used it
    uint64_t sealed_first
    uint32_t unacked                # ack-eliciting packets received since the last PATH_ACK, and their bytes
    uint32_t unacked_bytes
    double newest_at                # when the largest number was received
    double ack_at                   # when a PATH_ACK is due; 0: none
    double probe_at                 # suspect: when to probe next
    double doubted_at               # when it was probed because it was silent, though not suspect yet; 0: never
    uint32_t probes                 # PINGs to send now, whatever the window
    uint32_t beyond                 # packets of control frames that may go beyond the window
    double received_at
    uint64_t tx_bytes, rx_bytes, tx_packets, rx_packets
    burst_t* burst                  # being filled
    uint64_t again[2]               # packet numbers up to again_end that may have to go out again on another path:
    uint64_t again_end              # those of bulk flows and of sparse ones (reinject.pyx)

cdef struct prefix_t:
    uint8_t ip[16]                  # IPv4 as ::ffff:a.b.c.d
    uint8_t length                  # of those 128 bits

cdef struct lane_t:                 # one flow that comes over several paths (resequence.pyx)
    uint64_t flow                   # its number, or its hash (stamps.pyx)
    uint32_t window                 # packets it may be ahead of a gap
    double most                     # the longest wait for a gap, seconds
    uint64_t expected               # the next number to deliver; 64-bit so that it never wraps
    uint64_t end                    # one behind the newest number seen
    uint32_t held
    packet_t** ring                 # what came too early, by number modulo the window; NULL: the lane is free
    uint64_t* seen                  # a bit for each number of the window
    double waiting                  # when the gap at `expected` is given up; 0: nothing is held
    double gap_at                   # when we noticed it
    uint64_t lost_from              # the last gap that was given up because of time, and when it was noticed
    double lost_at
    double used_at
    double begun_at                 # when the flow got the lane,
    uint16_t former                 # and the spread flow that had it before
    uint64_t path_number[PATHS]     # newest number by path
    double moved_at                 # stamps.pyx: when `expected` last grew
    uint32_t packets, large         # stamps.pyx: those that came, and the large ones among them

cdef struct order_t:                # what putting flows in order came to (resequence.pyx), in packets
    uint64_t numbered               # that came
    uint64_t waited                 # of those, for earlier ones
    uint64_t late                   # came when nobody waited for them any more, and passed
    uint64_t duplicates
    uint64_t no_room                # passed out of order: too much waits already
    uint64_t discarded              # dropped with their flow
    uint64_t filled                 # gaps that ended as the missing packet came,
    uint64_t lost                   # as it came on no path,
    uint64_t expired                # as patience ended,
    uint64_t overrun                # as the flow was too far ahead
    uint64_t demoted                # flows that turned out to be of small packets (stamps.pyx)
    uint64_t waits[WAITS]           # gaps that lasted less than 1 ms, 2 ms, 4 ms ...; the last: all others
    double longest                  # of those times, seconds

cdef struct rule_t:                 # of [Reorder]: flows that are stamped (stamps.pyx)
    uint16_t port                   # either one; 0: all
    uint16_t window                 # packets a flow may be ahead of a gap; 0: the flow is left alone
    double most                     # the longest wait for a gap, seconds

cdef struct rules_t:                # the first that fits a flow decides; none: it is left alone
    uint32_t count
    rule_t items[RULES]

cdef struct limit_t:                # of events in a second
    double second                   # when it began
    uint32_t count

cdef struct conn_t:
    uint32_t id
    bint is_client
    uint64_t seed                   # of its paths' skipped packet numbers
    bint multipath                  # negotiated: PATH_ACK, else ACK
    bint closed                     # only CONNECTION_CLOSE is sent, nothing is delivered
    path_t* paths[PATHS]
    keys_t send_keys[3]             # by generation modulo 3: previous, current, next
    keys_t receive_keys[3]
    header_keys_t send_header
    header_keys_t receive_header
    int64_t send_generation
    int64_t receive_generation
    uint64_t sealed                 # packets protected, over all paths (RFC 9001, section 6.6)
    uint64_t forged                 # packets that did not open
    uint64_t seal_limit             # `sealed` at which KEY_LIMIT is told; 0: never
    uint64_t forge_limit            # `forged` that ends the connection; 0: none
    int64_t acked_generation        # newest of the peer's that we acknowledged a packet of, with keys as new
    uint32_t path_limit             # the highest path ID that we allow
    uint32_t ack_delay_exponent
    double peer_ack_delay
    uint32_t peer_datagram, peer_payload    # its limits; 0: none told
    int64_t quarter_stream          # of the bound request; -1: none
    bint capsules                   # IP packets leave as events: the peer takes no DATAGRAM frames
    int64_t capsule_room            # bytes of them that Python takes now
    uint8_t prefix[12]              # 0x30, quarter stream ID, Context ID 0
    uint32_t prefix_length
    queue_t queue
    control_t* control_head
    control_t* control_tail
    uint32_t control_bytes
    prefix_t* local
    prefix_t* remote
    uint32_t local_count, remote_count
    scheduler_kind scheduler
    congestion_kind congestion      # of every path
    double keep_alive               # seconds; 0: never
    double received_at
    double load[PATHS]              # WLB: how many bulk flows each path carries
    double load_at
    double capacity                 # of the paths in use together, bytes per second
    bint spread                     # both ends put spread flows back in order
    rules_t* stamps                 # negotiated: flows that are stamped; NULL: none
    bint reinjection                # what is in flight on a path that fails goes out again on another
    double decide_at                # when a flow stops waiting for a better path; 0.0: none does
    uint16_t next_flow              # counts the flows that were spread, in steps of LANES
    double spread_at[LANES]         # when the flow whose number leads to this lane last sent
    uint32_t sequence               # of the next packet of the flows that are not spread
    bint several                    # several paths may be used: all packets are numbered
    uint8_t* history                # packets in flight, to be sent again (reinject.pyx); NULL until needed
    uint32_t history_size           # bytes, a power of two
    uint64_t history_begin          # positions that are filled
    uint64_t history_end
    uint64_t history_seen           # where it ended when memory was last looked at
    double history_used             # when a packet was added last
    bint again                      # some path has packets to be sent again
    lane_t* lanes                   # NULL until one is needed
    uint32_t held                   # packets in all lanes together
    uint32_t held_bytes
    order_t order
    double lag                      # how late packets came lately, seconds, and when we knew that
    double lag_at
    double numbered_at[PATHS]       # when each path last delivered a numbered packet; 0.0: never
    uint64_t* passed                # a bit for each of the last numbers of flows that are not spread
    uint64_t passed_end             # one behind the newest
    bint ready                      # in the list of those to be served
    conn_t* ready_next
    double tidy_at                  # when to look for memory that can be given back; 0.0: none was taken (tidy.pyx)
    uint64_t ip_sent, ip_sent_bytes, ip_received, ip_received_bytes
    limit_t limit                   # of events that its packets cause: its peer's flood costs no other one's events
    uint8_t* reset_tokens           # 16 bytes each
    uint32_t reset_count

cdef struct cid_entry_t:
    uint64_t cid
    conn_t* conn                    # NULL: free
    uint32_t path_id
    uint32_t sequence               # of the connection ID, on its path

cdef struct route_entry_t:
    uint8_t ip[16]
    conn_t* conn                    # NULL: free

cdef struct event_t:                # a record in the arena; its data follow
    uint32_t size                   # of record and data, a multiple of 8
    uint32_t length                 # of the data
    uint32_t kind
    uint32_t conn
    uint32_t path
    uint32_t socket
    uint64_t a
    uint64_t b
    endpoint_t remote
    endpoint_t local

cdef struct core_t:                 # one engine
    bint is_server
    uint64_t seed                   # of its connections
    conn_t* default_conn            # client: where packets from the TUN go
    conn_t** conns                  # by id; NULL: free
    deadlines_t deadlines           # by id
    uint32_t conn_capacity
    cid_entry_t* cids
    uint32_t cid_capacity, cid_count
    route_entry_t* routes
    uint32_t route_capacity, route_count
    conn_t* ready_first
    conn_t* ready_last
    uint8_t* arena
    uint32_t arena_used, arena_capacity
    limit_t limit                   # of events that strangers and the TUN cause
    packet_t* released              # held packets that were delivered with the last batch
    uint64_t history_bytes          # of all connections
    uint64_t drops[DROPS]

cdef struct sink_t:                 # where opened IP packets go
    packet_ref_t* items
    int* count
    int capacity
