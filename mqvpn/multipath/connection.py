"""MultipathConnection: one connection of Multipath QUIC (draft-ietf-quic-multipath-21). No I/O, no clock.

aioquic makes the handshake and the streams (seam.py), the engine everything in 1-RTT packets; between them
stand the paths (paths.py). Inputs: receive_long(), handle_event(), handle_timeout(), the application's calls.
Outputs: flush(), next_event(), next_timeout(). Whatever goes wrong in them ends this connection and no other.
"""

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from mqvpn.dataplane import engine as dataplane
from mqvpn.dataplane.engine import Engine
from mqvpn.multipath.cids import reset_token
from mqvpn.multipath.configuration import HANDSHAKE_DATAGRAM_SIZE
from mqvpn.multipath.datagram import split
from mqvpn.multipath.ending import STATELESS_RESET, EndingConnection
from mqvpn.multipath.events import NewToken
from mqvpn.multipath.frames import ControlFrames
from mqvpn.multipath.issuance import Issuance
from mqvpn.multipath.keys import Keys
from mqvpn.multipath.keyupdate import KeyUpdates
from mqvpn.multipath.lifetime import Lifetime
from mqvpn.multipath.limits import PathLimits
from mqvpn.multipath.mtu import Towards, unknown
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.parameters import PeerParameters, write_initial_max_path_id
from mqvpn.multipath.path import Address, Endpoint, Path
from mqvpn.multipath.paths import Paths
from mqvpn.multipath.seam import QuicConfiguration, QuicConnectionError, QuicFrameType, QuicTransportParameters
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import TransportErrorCode

MAX_TOKEN: Final = 512  # bytes; a longer one would leave the Initial packet no room
MAX_EARLY: Final = 16  # 1-RTT packets kept until there are keys for them
KEEP_ALIVE: Final = 15.0  # seconds; a client sends a PING on each path after so much silence

Early = tuple[bytes, int, Endpoint, Endpoint | None]  # the arguments of Engine.receive_one() before `out`


class CannotOpenPath(Exception):
    """Why open_path() opened none."""


class MultipathConnection(EndingConnection):
    """A QUIC connection over any number of paths."""

    def __init__(
        self,
        *,
        engine: Engine,
        configuration: QuicConfiguration,
        max_path_id: int | None = 8,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
        reset_key: bytes = b"",
        towards: Towards = unknown,
    ) -> None:
        """max_path_id: the highest path ID we allow at first, None: do not offer several paths.

        reset_key: for Stateless Reset Tokens; without one this connection cannot be reset. towards: bytes of UDP
        payload that the interface takes by which packets to an address leave; clients tell it for each path instead.
        """
        key = reset_key or secrets.token_bytes(32)
        self._own_max_path_id = max_path_id
        super().__init__(
            reset_token=lambda cid: reset_token(key, cid),
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
            token_handler=self._handle_new_token if configuration.is_client else None,
        )
        self.engine_connection = connection = engine.connection(is_client=self.is_client)
        self.id = connection.id  # the engine's, and valid beyond the end
        self._outbox = Outbox(connection)
        self._issuance = Issuance(connection, self._outbox, lambda cid: reset_token(key, cid))
        self._limits = PathLimits(max_path_id, self._issuance, self._outbox)
        self._paths = Paths(
            connection, self._outbox, self._issuance, towards, self._events.append, self._limits.raise_own
        )
        ControlFrames(self._paths, self._issuance, self._limits).install(self)
        self._issuance.add_first(self.host_cid)
        self._lifetime = Lifetime(configuration.idle_timeout)
        self._keys = Keys(connection)
        self._key_updates = KeyUpdates(connection, self._keys)
        self._early: deque[Early] = deque(maxlen=MAX_EARLY)
        self._address: Address | None = None  # of the handshake
        self._peer = PeerParameters()
        self._largest = 0  # UDP payload that path 0's interface takes
        self._started = False
        self._handlers = self._event_handlers()

    def _event_handlers(self) -> dict[int, Callable[..., None]]:
        handlers: dict[int, Callable[..., None]] = {
            dataplane.EARLY: self._handle_early,
            dataplane.CONTROL: self.handle_frames,
            dataplane.TOKEN: self._handle_token,
            dataplane.PATH_SUSPECT: self._paths.handle_suspect,
            dataplane.PATH_ALIVE: self._paths.handle_alive,
            dataplane.LARGE_LOST: self._paths.handle_large_lost,
            dataplane.KEY_PHASE: self._key_updates.handle_key_phase,
            dataplane.KEY_LIMIT: self._key_updates.handle_limit,
            dataplane.ERROR: self._handle_error,
            dataplane.RESET: self._handle_reset,
        }
        if not self.is_client:  # only clients open paths, and servers do not move
            handlers[dataplane.PATH_NEW] = self._handle_path_new
            handlers[dataplane.PATH_ADDRESS] = self._handle_path_address
        return handlers

    # What there is

    @property
    def multipath(self) -> bool:
        """Whether both ends offered Multipath QUIC."""
        return self._limits.negotiated

    @property
    def paths(self) -> Mapping[int, Path]:
        """The paths by ID; also those that were abandoned and not yet forgotten."""
        return self._paths.table

    @property
    def handshake_address(self) -> Address | None:
        """Where the handshake's packets come from and go to; None before the first."""
        return self._address

    def inner_mtu(self) -> int:
        """Bytes of the largest IP packet that every usable path takes; 0: no path is usable."""
        return self._paths.inner_mtu()

    # What the application does

    @property
    def takes_datagrams(self) -> bool:
        """Whether the peer offers QUIC DATAGRAM (RFC 9221, section 3)."""
        return self._peer.max_datagram_frame_size > 0

    def connect_to(
        self, remote: Endpoint, socket: int, local: Endpoint | None, now: float, *, largest: int = 0
    ) -> None:
        """Client: begin the handshake on what becomes path 0.

        largest: bytes of UDP payload that the interface's MTU leaves; 0: as with an MTU of 1500.
        """
        self._largest = largest
        self._address = Address(socket, remote, local)
        self._lifetime.begin(now)
        self.connect(remote, now)

    def open_path(
        self, socket: int, remote: Endpoint, local: Endpoint | None, now: float, *, largest: int = 0
    ) -> int:
        """Client: open another path and return its ID; PathEstablished or PathAbandoned follows.

        largest: as for connect_to().
        """
        self._check_may_open(remote)
        path_id = next(self._paths.unused(), None)
        if path_id is None:
            self._limits.send_blocked(now, self._pto())
            raise CannotOpenPath("the server allows no further path yet")
        if not self._issuance.peer.has_any(path_id):
            self._issuance.send_blocked(path_id)
            raise CannotOpenPath("the server gave no connection ID for a further path yet")
        self._paths.open(path_id, Address(socket, remote, local), now, largest)
        return path_id

    def _check_may_open(self, remote: Endpoint) -> None:
        if not self.is_client:
            raise CannotOpenPath("only a client opens paths")
        if self.has_ended or self.close_pending or not self.handshake_confirmed:
            raise CannotOpenPath("the connection is not established")
        if not self.multipath:
            raise CannotOpenPath("the server does not support several paths")
        # Section 2.1: with disable_active_migration no further path may lead to the handshake's address.
        first = self._address.remote if self._address is not None else None
        if self._peer.disable_active_migration and remote == first:
            raise CannotOpenPath("the server forbids further paths to its address")

    def abandon_path(self, path_id: int, error_code: int, now: float) -> None:
        """Leave a path; raises KeyError if there is none with this ID."""
        self._paths.abandon(path_id, error_code)

    def set_path_status(self, path_id: int, backup: bool, now: float) -> None:
        """Prefer or avoid a path, in both directions; raises KeyError if there is none with this ID."""
        self._paths.set_status(path_id, backup=backup)

    def set_path_weight(self, path_id: int, weight: float) -> None:
        """Scale the path's share of what this end sends; raises KeyError if there is none with this ID."""
        self._paths.set_weight(path_id, weight)

    def ping_paths(self) -> None:
        """Ask every path in use whether it is still there; PathSuspect follows for those that do not answer."""
        self._paths.ping()

    def set_largest(self, path_id: int, largest: int, now: float) -> None:
        """Client: the MTU of this path's interface is another one now; largest: as for connect_to()."""
        self._paths.set_largest(path_id, largest, now)

    def send_new_token(self, token: bytes) -> None:
        """Server: give the client a token for its next handshake (RFC 9000, section 8.1.3)."""
        out = Writer()
        out.varint(QuicFrameType.NEW_TOKEN)
        out.varint(len(token))
        out.write(token)
        self._outbox.keep_sending(lambda: bytes(out))

    def update_keys(self, now: float) -> bool:
        """Update the packet protection keys; False: not allowed yet (RFC 9001, section 6.1)."""
        return self._key_updates.update(now)

    # Input

    def receive_long(
        self, data: bytes, socket: int, remote: Endpoint, local: Endpoint | None, now: float
    ) -> list[Early]:
        """Handle a datagram that begins with a long header; return 1-RTT packets the engine can open now."""
        if self.has_ended:
            return []
        head, tail = split(data)
        address = Address(socket, remote, local)
        if head and self._accepts(address):
            with self._guarded():
                self._lifetime.begin(now)
                self._receive_head(head, address, now)
                self._advance(now)
        if tail:
            self._early.append((tail, socket, remote, local))
        return self.ready_packets()

    def handle_event(self, event: tuple, now: float) -> None:  # type: ignore[type-arg]
        """Handle an event of the engine whose second item is this connection."""
        if self.has_ended:
            return
        with self._guarded():
            handler = self._handlers.get(event[0])
            if handler is not None:
                handler(*event[2:], now)
            self._advance(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self.is_terminated:
            return
        with self._guarded():
            end_at = self._lifetime.next_timeout(self.engine_connection.last_received, self._pto())
            if end_at is not None and now >= end_at:
                self.end(self._lifetime.reason())
            elif not self.has_ended:
                handshake_at = self.handshake_timeout_at()
                if handshake_at is not None and now >= handshake_at:
                    self.handle_handshake_timeout(now)
                self._paths.handle_timeout(now)
                self._key_updates.handle_timeout(now)
            self._advance(now)

    # Output

    def next_timeout(self) -> float | None:
        """When handle_timeout() is due; None: not by itself."""
        if self.is_terminated:
            return None
        at = [self._lifetime.next_timeout(self.engine_connection.last_received, self._pto())]
        if not self.has_ended:
            at += [self.handshake_timeout_at(), self._paths.next_timeout(), self._key_updates.next_timeout()]
        return min((moment for moment in at if moment is not None), default=None)

    def flush(self, now: float) -> list[tuple[int, Endpoint, Endpoint | None, bytes]]:
        """Return handshake datagrams to send; give the engine the control frames it has room for."""
        datagrams: list[bytes] = []
        if self.is_terminated:
            return []
        with self._guarded():
            if self.close_pending:
                datagrams = self._send_close(now)
            elif self.has_ended:
                self._repeat_close(now)
            else:
                if not self.handshake_confirmed:
                    datagrams = self.handshake_datagrams(now)
                if self.handshake_complete:
                    self._paths.answer_challenges()
                    self._outbox.flush(self.next_control_frames, any_path=self._paths.has_sender())
            self._advance(now)
        to = self._address
        return [(to.socket, to.remote, to.local, data) for data in datagrams] if to is not None else []

    # Handshake

    def handle_secret(self, is_send: bool, suite: int, secret: bytes) -> None:
        self._keys.install(is_send, suite, secret)

    def extra_transport_parameters(self) -> bytes:
        limit = self._own_max_path_id
        return write_initial_max_path_id(limit) if limit is not None else b""

    def handle_transport_parameters(self, known: QuicTransportParameters, raw: bytes) -> None:
        self._peer = PeerParameters.of(known, raw)
        limit = self._peer.initial_max_path_id
        if limit is None:
            return
        if not self.peer_connection_id:
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION,
                QuicFrameType.CRYPTO,
                "initial_max_path_id needs a connection ID",
            )
        self._limits.set_peer(limit)

    def _accepts(self, address: Address) -> bool:
        # RFC 9000, section 9: "If a client receives packets from an unknown server address, the client MUST
        # discard these packets."
        return not self.is_client or self._address is None or address.remote == self._address.remote

    def _receive_head(self, head: bytes, address: Address, now: float) -> None:
        """A client whose NAT rebinds during the handshake is followed once a Handshake packet proves it."""
        proofs = self.handshake_packets_received()
        self.receive_handshake(head, now)
        if self._address is None or self.handshake_packets_received() > proofs:
            self._address = address

    def ready_packets(self) -> list[Early]:
        if not self._keys.can_receive:
            return []
        packets = list(self._early)
        self._early.clear()
        return packets

    def _advance(self, now: float) -> None:
        """Notice what the last input led to."""
        if self.has_ended:
            self._notice_end(now)
            return
        if self._opened and not self.is_client:
            self._lifetime.notice_paths(self._paths.has_live(), now, self._pto())
        if self.handshake_complete and not self._opened and self._address is not None:
            self._opened = True
            self._open_first(self._address, now)
        if self.handshake_confirmed and self._opened and not self._started:
            self._started = True
            self.log_handshake(None)
            if self.multipath:
                self._limits.extend()
            self._key_updates.begin(now)
            self._paths.mtu.begin(self._paths.table[0])
        if self._started:
            self._paths.mtu.advance(self._paths.table.values(), now)

    def _open_first(self, address: Address, now: float) -> None:
        peer = self._peer
        self.engine_connection.set_peer(
            peer.ack_delay_exponent,
            peer.max_ack_delay,
            peer.max_datagram_frame_size,
            peer.max_udp_payload_size,
        )
        self.engine_connection.set_multipath(self.multipath)
        self._issuance.allow_paths(self._limits.own or 0)
        if self.is_client:
            self.engine_connection.set_keep_alive(KEEP_ALIVE)
        self._lifetime.complete(now, self.peer_idle_timeout)
        self._issuance.multipath = self.multipath
        self._issuance.peer_limit = self.peer_active_connection_id_limit
        self._issuance.peer.add_first(self.peer_connection_id, self.peer_reset_token)
        self._paths.mtu.max_udp_payload = peer.max_udp_payload_size
        self._paths.open_first(address, min(HANDSHAKE_DATAGRAM_SIZE, peer.max_udp_payload_size), self._largest)

    # The engine's events

    def _handle_early(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        self._early.append((data, socket, remote, local))

    def _handle_token(self, token: int, acked: bool, now: float) -> None:
        self._outbox.handle_token(token, acked)

    def _handle_path_new(self, path_id: int, socket: int, remote: Endpoint, local: Endpoint | None, now: float) -> None:
        if path_id not in self._paths.table:
            self._paths.open(path_id, Address(socket, remote, local), now, self._largest)

    def _handle_path_address(
        self, path_id: int, socket: int, remote: Endpoint, local: Endpoint | None, fresh: bool, now: float
    ) -> None:
        self._paths.handle_address(path_id, Address(socket, remote, local), fresh, now)

    def _handle_error(self, error_code: int, frame_type: int, reason: str, now: float) -> None:
        self.close(error_code, frame_type, reason)

    def _handle_reset(self, now: float) -> None:
        self.end(STATELESS_RESET)

    def _handle_new_token(self, token: bytes) -> None:
        if not token:
            # RFC 9000, section 19.7: "A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field
            # as a connection error of type FRAME_ENCODING_ERROR."
            raise QuicConnectionError(TransportErrorCode.FRAME_ENCODING_ERROR, QuicFrameType.NEW_TOKEN, "empty token")
        if len(token) <= MAX_TOKEN:
            self._events.append(NewToken(token))
