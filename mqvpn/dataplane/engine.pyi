"""The engine: every 1-RTT packet of every connection (see engine.pyx). What Python sees of it."""

from collections.abc import Sequence
from typing import NamedTuple

from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.udp import Bursts, Datagrams

Endpoint = tuple[str, int]
Prefix = tuple[bytes, int]
Elsewhere = tuple[int, Endpoint, Endpoint | None, bytes]  # socket, remote, local, connection ID
ReorderRule = tuple[int, float, int]  # port (0: any), longest wait in seconds, packets ahead (0: leave it alone)

# Event kinds: the first item of each tuple that Engine.events() returns, and what follows it.
LONG_HEADER: int  # socket, remote, local, data: a datagram that begins with a long header, whole
EARLY: int  # connection, socket, remote, local, data: 1-RTT packet, no receive keys yet
UNKNOWN: int  # socket, remote, local, data: short header, unknown connection ID; at most 100 a second
CONTROL: int  # connection, path, frames, sequence number of our connection ID that they came to
TOKEN: int  # connection, token, acked
PATH_NEW: int  # connection, path, socket, remote, local: first packet on a path that is not open here
# connection, path, socket, remote, local, fresh: its newest packet came from elsewhere; fresh: to a connection ID that
# the path's packets did not use before
PATH_ADDRESS: int
PATH_SUSPECT: int  # connection, path
PATH_ALIVE: int  # connection, path: it answers again; narrow, if the last large packet did not arrive
KEY_PHASE: int  # connection, generation now in use; install generation + 1 for both directions
ERROR: int  # connection, transport error code, frame type, reason
DATAGRAM: int  # connection, payload: unbound stream or unknown context; rate-limited by connection
TOO_BIG: int  # connection, packet, mtu; rate-limited by connection
UNREACHABLE: int  # connection whose peer sent it (None: from the TUN), packet, wire.drop.Drop; rate-limited
RESET: int  # connection: a stateless reset token of its peer was received
LARGE_LOST: int  # connection, path: packets above 1200 bytes were lost again and again, smaller ones were not
KEY_LIMIT: int  # connection: set_aead_limits()
PACKET: int  # connection, IP packet: to be sent in a capsule, as bind() was told

RECEIVE: int
SEND: int
AES_128_GCM: int
AES_256_GCM: int
CHACHA20_POLY1305: int
ANY_PATH: int
SPREAD_BYTES: int  # more bytes that a packet of a spread flow needs
STAMP_BYTES: int  # more bytes that a packet needs which is stamped for the C mqvpn
OVERHEAD: int  # bytes that a UDP payload needs around an IP packet (quarter stream ID below 64)

class PathStats(NamedTuple):
    """One path in figures: seconds, bytes, packets, bytes per second."""

    srtt: float
    rttvar: float
    min_rtt: float
    latest_rtt: float
    pto: float
    cwnd: int
    in_flight: int
    delivery_rate: float
    mtu: int
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int
    acked: int
    lost: int
    usable: bool
    suspect: bool
    pacing_rate: float
    spurious: int  # of those lost, acknowledged after all
    ecn: bool  # packets leave with ECT(0), validated
    congestion_marks: int  # packets that the peer received with CE

class OrderStats(NamedTuple):
    """What putting flows in order came to, in packets unless said otherwise."""

    numbered: int  # that came
    waited: int  # of those, for earlier ones
    waiting: int  # now
    late: int  # came when nobody waited for them any more, and passed
    duplicates: int
    no_room: int  # passed out of order: too much waited already
    discarded: int  # dropped with their flow
    filled: int  # gaps that ended as the missing packet came,
    lost: int  # as it came on no path,
    expired: int  # as patience ended,
    overrun: int  # as the flow was too far ahead
    demoted: int  # flows that turned out to be of small packets, which wait for nothing
    longest: float  # that a gap lasted, seconds
    waits: tuple[int, ...]  # gaps that lasted less than 1 ms, 2 ms, 4 ms ...; the last: all others

class Connection:
    @property
    def id(self) -> int: ...
    @property
    def last_received(self) -> float:
        """When the last authenticated packet came, on any path; 0.0: none yet."""
    def set_keys(
        self, direction: int, generation: int, suite: int, key: bytes, iv: bytes, hp: bytes
    ) -> None:
        """Install the 1-RTT keys of a key update generation (0 is the first); hp only matters for 0."""
    def update_keys(self) -> None:
        """Protect what is sent from now on with the next generation (RFC 9001, section 6). Raises ValueError
        if its keys were not installed."""
    def drop_keys(self, generation: int) -> None:
        """Forget receive keys older than those in use."""
    def keys_confirmed(self) -> bool:
        """Whether a packet sent with the newest keys was acknowledged."""
    def set_aead_limits(self, sealed: int, forged: int) -> None:
        """sealed: after so many packets sent in all KEY_LIMIT comes, once (0: never); forged: after so many
        received ones that did not open, over all keys, the connection ends with AEAD_LIMIT_REACHED (0: never)."""
    def aead_counts(self) -> tuple[int, int]:
        """Packets sealed, and received packets that did not open, over all paths and keys."""
    def set_peer(
        self, ack_delay_exponent: int, max_ack_delay: float, max_datagram_frame_size: int, max_udp_payload: int
    ) -> None: ...
    def set_multipath(self, enabled: bool) -> None:
        """Whether both ends offered the extension: PATH_ACK is sent and taken, else ACK; True at first."""
    def set_path_limit(self, path_id: int) -> None:
        """The highest path ID that we allow: PATH_ACK for one above is a PROTOCOL_VIOLATION."""
    def set_reset_tokens(self, tokens: Sequence[bytes]) -> None:
        """The stateless reset tokens of the peer's connection IDs in use (RESET event)."""
    def add_cid(self, cid: bytes, path_id: int, sequence: int = 0) -> None:
        """Packets that carry this connection ID (8 bytes, one of ours) belong to path_id."""
    def del_cid(self, cid: bytes) -> None: ...
    def open_path(self, path_id: int, socket: int, remote: Endpoint, local: Endpoint | None, dcid: bytes) -> None: ...
    def set_path(
        self,
        path_id: int,
        *,
        validated: bool | None = None,
        usable: bool | None = None,
        narrow: bool | None = None,
        backup: bool | None = None,
        weight: float | None = None,
        mtu: int | None = None,
    ) -> None:
        """validated lifts the anti-amplification limit; usable lets IP packets be scheduled on it; narrow = False
        lets large ones again, which LARGE_LOST or PATH_ALIVE ended as far as there are other paths;
        backup: only when no other path works; weight scales its share of flows (1.0 at first);
        mtu: UDP payload bytes proven."""
    def set_dcid(self, path_id: int, dcid: bytes) -> None: ...
    def set_address(self, path_id: int, socket: int, remote: Endpoint, local: Endpoint | None) -> None:
        """The path moved; unless it is validated, the anti-amplification limit counts anew."""
    def restart_path(self, path_id: int) -> None:
        """Begin RTT and congestion control anew (RFC 9000, section 9.4)."""
    def abandon_path(self, path_id: int) -> None:
        """Send nothing more there; control data in flight comes back as TOKEN ... False. Late packets still open."""
    def forget_path(self, path_id: int) -> None: ...
    def bind(self, quarter_stream_id: int, *, capsules: bool = False) -> None:
        """DATAGRAMs of this request stream with Context ID 0 are IP packets from now on; capsules: IP packets for
        the peer come as PACKET events, since it takes no DATAGRAM frames."""
    def unbind(self) -> None: ...
    def allow(self, local: Sequence[Prefix], remote: Sequence[Prefix]) -> None:
        """local: inner addresses of this end (sources sent, destinations received); remote: the peer's
        (sources received; on a server also the route to this connection). Empty: no check, no route.
        Raises ValueError if a remote host address already leads to another connection."""
    def set_capsule_room(self, room: int) -> None:
        """How many bytes of PACKET events may come before this is called again; the rest waits in the queue."""
    def accept_packet(self, packet: bytes, now: float) -> bool:
        """Whether an IP packet of the peer's that came another way may pass; counted if not."""
    def send(
        self,
        frames: bytes,
        path_id: int = -1,
        token: int = 0,
        pad_to: int = 0,
        mtu_probe: bool = False,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Queue the frames of one ack-eliciting packet ahead of all IP packets. token != 0 comes back as TOKEN;
        mtu_probe: its loss says nothing about congestion; elsewhere: to a validated address other than the path's."""
    def room(self) -> int:
        """Bytes of frames the engine will take now (0 while its queue is full)."""
    def close_now(self, frames: bytes, path_id: int = -1) -> None:
        """Send these CONNECTION_CLOSE frames, and nothing else ever after (b"": nothing at all)."""
    def path(self, path_id: int) -> PathStats: ...
    def path_ids(self) -> list[int]: ...
    def largest_pto(self) -> float: ...
    def set_scheduler(self, name: str) -> None:
        """minrtt, wlb, wlb_udp_pin or redundant (without spread flows: minrtt)."""
    def set_spread(self, enabled: bool) -> None:
        """Both ends put flows that use several paths back in order: costs SPREAD_BYTES of every inner packet's MTU."""
    def set_reorder(self, rules: Sequence[ReorderRule]) -> None:
        """Both ends put UDP flows back in order as the C mqvpn does; the first rule that fits a flow decides. It costs
        STAMP_BYTES of every inner packet's MTU. Empty: not in use. Raises ValueError for more than 16 rules."""
    def set_reinjection(self, enabled: bool) -> None:
        """Whether IP packets in flight on a path that fails go out again on another; needs set_spread()."""
    def set_congestion(self, name: str) -> None:
        """cubic, bbr or none (no window, no pacing), on every path from now on; a change starts open paths anew."""
    def set_keep_alive(self, seconds: float) -> None: ...
    def counters(self) -> tuple[int, int, int, int]:
        """IP packets and bytes sent to the peer, then received from it."""
    def order(self) -> OrderStats:
        """What putting the peer's flows in order came to."""
    def queued(self) -> tuple[int, int]:
        """IP packets (super packets count once) and bytes waiting to be sent."""
    def close(self) -> None:
        """Forget the connection: its IDs, routes, queues."""

class Engine:
    def __init__(self, *, is_server: bool, seed: int | None = None) -> None:
        """seed: of the packet numbers that are skipped at random; None: from the system, so that no peer knows them."""
    def connection(self, *, is_client: bool) -> Connection: ...
    def set_default(self, connection: Connection | None) -> None:
        """Client: where packets from the TUN go."""
    def receive(self, datagrams: Datagrams, out: PacketRefs, now: float) -> None:
        """Open a receive batch in place: IP packets into out (valid until the next receive), the rest as events."""
    def receive_one(
        self, data: bytes, socket: int, remote: Endpoint, local: Endpoint | None, out: PacketRefs, now: float
    ) -> None:
        """One short-header packet: the tail of a coalesced datagram, or one kept since before the keys."""
    def from_tun(self, packets: PacketBatch, now: float) -> None:
        """Take packets read from the TUN and queue them by session and flow."""
    def to_peer(self, connection: Connection, packets: PacketBatch, now: float) -> None:
        """Queue packets for the peer of a connection, whatever their addresses."""
    def transmit(self, bursts: Bursts, now: float) -> int:
        """Fill bursts with what may be sent now; returns how many. Call, send, repeat while > 0."""
    def next_timeout(self) -> float | None: ...
    def timeout(self, out: PacketRefs, now: float) -> None:
        """Do what is due; packets that waited long enough for earlier ones go into out."""
    def has_events(self) -> bool: ...
    def events(self) -> list[tuple]:  # type: ignore[type-arg]
        """All events since the last call, oldest first."""
    def drops(self) -> list[int]:
        """Packets given up so far, indexed by wire.drop.Drop."""
