"""Everything private of aioquic that is touched; nothing else may touch it.

aioquic does TLS 1.3, Initial and Handshake packets, Retry and streams. Its 1-RTT packet layer never runs:
that epoch's crypto pair is a stand-in (standin.py). Frames of 1-RTT packets come in through handle_frames(),
and next_control_frames() fills packets for whoever sends them. DATAGRAM frames are the engine's.
tests/multipath/test_seam.py holds each private name against the installed version; 1.2.0 and 1.7.2 fit.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CRYPTO_BUFFER_SIZE,
    END_STATES,
    EPOCHS,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent
from aioquic.quic.logger import QuicLoggerTrace
from aioquic.quic.packet import (
    QuicFrameType,
    QuicProtocolVersion,
    QuicTransportParameters,
    encode_quic_retry,
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStream
from aioquic.tls import CipherSuite

from mqvpn.multipath.arrival import Arrival
from mqvpn.multipath.standin import BuilderFull, Deliveries, FrameBuilder, FrameTable, SecretPair
from mqvpn.wire.buffer import DecodeError, Reader
from mqvpn.wire.frame import TransportErrorCode

__all__ = [
    "Arrival", "CipherSuite", "ConnectionTerminated", "ControlConnection", "Delivered", "HandshakeCompleted",
    "QuicConfiguration", "QuicConnectionError", "QuicEvent", "QuicFrameType", "QuicLoggerTrace",
    "QuicProtocolVersion", "QuicTransportParameters", "encode_quic_retry",
]

Delivered = Callable[[bool], None]  # called once: True when acknowledged, False when lost

WINDOW: Final = 1 << 15  # bytes a peer may send ahead, on one stream and on all together
MAX_GAPS: Final = 64  # in a stream: more than packets that overtake one another within WINDOW leave
MAX_CRYPTO: Final = (1 << 13, 1 << 17)  # bytes of TLS messages ahead: a client's; a server's, which has certificates
MAX_STREAMS: Final = 8  # streams of each kind that a peer may have open
STREAM_FRAME_ROOM: Final = 32  # do not start a STREAM frame with less space: aioquic 1.2.0 could lose a FIN


FrameHandler = Callable[[Arrival, Reader], None]  # with the fields behind the frame type


class ControlConnection(QuicConnection, ABC):
    """A QuicConnection reduced to the handshake, streams and their control frames."""

    def __init__(self, *, reset_token: Callable[[bytes], bytes], **arguments: Any) -> None:
        super().__init__(**arguments)
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = MAX_STREAMS
        if not self._is_client:
            self._host_cids[0].stateless_reset_token = reset_token(self.host_cid)
        self._frames_path = self._frames_sequence = 0  # of the packet whose frames are being handled
        self._has_news = True  # perhaps there are control frames to send
        theirs = vars(self)["_QuicConnection__frame_handlers"]
        table = self._frame_table = FrameTable(self, theirs, self._handle_own_frame, EPOCHS("1"))
        vars(self)["_QuicConnection__frame_handlers"] = table

    @abstractmethod
    def handle_secret(self, is_send: bool, suite: int, secret: bytes) -> None:
        """Take a 1-RTT traffic secret."""

    @abstractmethod
    def extra_transport_parameters(self) -> bytes:
        """Return encoded transport parameters to send beside aioquic's."""

    @abstractmethod
    def handle_transport_parameters(self, known: QuicTransportParameters, raw: bytes) -> None:
        """Look at the peer's transport parameters; raise QuicConnectionError to refuse them."""

    @abstractmethod
    def handle_certificate(self, der: bytes) -> None:
        """Look at the server's certificate, before anything is sent to it; raise ValueError to refuse it."""

    # The state of the handshake

    @property
    def is_client(self) -> bool:
        return self._is_client

    @property
    def handshake_started(self) -> bool:
        """Whether a packet of the peer was authenticated."""
        return self._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def handshake_complete(self) -> bool:
        return self._handshake_complete

    @property
    def handshake_confirmed(self) -> bool:
        return self._handshake_confirmed

    @property
    def peer_connection_id(self) -> bytes:
        """The peer's first connection ID (path 0, sequence number 0)."""
        return self._peer_cid.cid

    @property
    def peer_reset_token(self) -> bytes:
        """The Stateless Reset Token for it; empty if there is none (a client's)."""
        return self._peer_cid.stateless_reset_token or b""

    @property
    def peer_idle_timeout(self) -> float:
        """The peer's max_idle_timeout in seconds; 0.0: none."""
        return self._remote_max_idle_timeout or 0.0

    @property
    def peer_active_connection_id_limit(self) -> int:
        return self._remote_active_connection_id_limit

    def handshake_packets_received(self) -> int:
        """How many Handshake packets were authenticated: these prove the peer's address."""
        space = self._spaces.get(tls.Epoch.HANDSHAKE)
        return space.largest_received_packet + 1 if space is not None else 0

    # Handshake datagrams

    def receive_handshake(self, data: bytes, now: float) -> None:
        """Handle a datagram of long-header packets. aioquic sees one address for ever, and so one path."""
        address = self._network_paths[0].addr if self._network_paths else ("peer", 0)
        self.receive_datagram(data, address, now)
        self._remote_preferred_address = None

    def handshake_datagrams(self, now: float) -> list[bytes]:
        """Return what the handshake, or closing during it, has to send."""
        return [data for data, _ in self.datagrams_to_send(now)] if self._network_paths else []

    def handshake_timeout_at(self) -> float | None:
        """When handle_handshake_timeout() is due; aioquic's own idle and closing timers are switched off."""
        if self._handshake_confirmed or self._close_at is None or self._state in END_STATES:
            return None
        self._close_at = math.inf
        at = self.get_timer()
        return None if at is None or at == math.inf else at

    def handle_handshake_timeout(self, now: float) -> None:
        """Let aioquic's loss detection act."""
        self._close_at = math.inf
        self.handle_timer(now)

    def log_handshake(self, trace: QuicLoggerTrace | None) -> None:
        """Tell `trace` of the handshake from now on; None: no more."""
        self._quic_logger = trace

    # What the application sends

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        self._has_news = True
        super().send_stream_data(stream_id, data, end_stream)

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes of a stream that wait to be sent or acknowledged."""
        stream = self._streams.get(stream_id)
        return len(stream.sender._buffer) if stream is not None else 0

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        self._has_news = True
        super().reset_stream(stream_id, error_code)

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        self._has_news = True
        super().stop_stream(stream_id, error_code)

    def send_ping(self, uid: int) -> None:
        self._has_news = True
        super().send_ping(uid)

    # Closing

    @property
    def close_event(self) -> ConnectionTerminated | None:
        """Why the connection is closed or about to be."""
        return self._close_event

    @property
    def close_pending(self) -> bool:
        """Whether close() was called and nothing was sent yet."""
        return self._close_pending

    @property
    def has_ended(self) -> bool:
        """Whether the connection is closing, draining or gone."""
        return self._state in END_STATES

    @property
    def is_draining(self) -> bool:
        return self._state is QuicConnectionState.DRAINING

    @property
    def is_terminated(self) -> bool:
        return self._state is QuicConnectionState.TERMINATED

    def end(self, reason: str) -> None:
        """End at once without sending anything."""
        if self._close_event is None:
            self._close_event = ConnectionTerminated(TransportErrorCode.NO_ERROR, QuicFrameType.PADDING, reason)
        self._close_pending = False
        self._close_end()

    def close_frames(self) -> bytes:
        """Return the CONNECTION_CLOSE frame for a 1-RTT packet."""
        if (event := self._close_event) is None:
            return b""
        builder: Any = FrameBuilder(1000)
        reason = event.reason_phrase.encode()[:200].decode(errors="ignore")
        self._write_connection_close_frame(builder, tls.Epoch.ONE_RTT, event.error_code, event.frame_type, reason)
        return bytes(builder.frames)

    # Frames of 1-RTT packets

    def add_frame_handler(self, number: int, handler: FrameHandler) -> None:
        """Handle a frame type of 1-RTT packets ourselves; in other packets it is a PROTOCOL_VIOLATION."""
        self._frame_table.own[number] = handler

    def _handle_own_frame(self, handler: FrameHandler, context: QuicReceiveContext, kind: int, buffer: Buffer) -> None:
        start = buffer.tell()
        source = Reader(buffer.data_slice(start, buffer.capacity))
        try:
            handler(Arrival(self._frames_path, kind, context.time, self._frames_sequence), source)
        except DecodeError as error:
            raise QuicConnectionError(TransportErrorCode.FRAME_ENCODING_ERROR, kind, str(error)) from error
        buffer.seek(start + source.position)

    def handle_frames(self, path_id: int, frames: bytes, sequence: int, now: float) -> None:
        """Handle the frames of a 1-RTT packet; raises QuicConnectionError."""
        if self._state in END_STATES:
            return
        self._frames_path, self._frames_sequence = path_id, sequence
        self._has_news = True
        path = self._network_paths[0]
        context = QuicReceiveContext(tls.Epoch.ONE_RTT, self.host_cid, path, [], now, self._version)
        self._payload_received(context, frames)
        if any(len(stream.receiver._ranges) > MAX_GAPS for stream in self._streams.values()):
            raise QuicConnectionError(TransportErrorCode.INTERNAL_ERROR, QuicFrameType.STREAM_BASE, "too many gaps")

    def next_control_frames(self, size: int) -> tuple[bytes, Delivered] | None:
        """Return frames for one packet of at most `size` bytes, and what to call when its fate is known."""
        if not self._has_news or not self._handshake_complete or self._state in END_STATES:
            return None
        builder = FrameBuilder(size)
        with suppress(BuilderFull):
            self._write_control(builder)
        if not builder.frames:
            self._has_news = False
            return None
        return bytes(builder.frames), partial(self._delivered, builder.handlers)

    def _delivered(self, handlers: Deliveries, acked: bool) -> None:
        """Tell aioquic what became of the frames of a packet."""
        self._has_news = True
        state = QuicDeliveryState.ACKED if acked else QuicDeliveryState.LOST
        for handler, arguments in handlers:
            handler(state, *arguments)

    def _write_control(self, builder: Any) -> None:
        """What is left of aioquic's _write_application."""
        if self._handshake_done_pending:
            self._write_handshake_done_frame(builder)
            self._handshake_done_pending = False
        if self._streams_blocked_pending:
            bidi, uni = QuicFrameType.STREAMS_BLOCKED_BIDI, QuicFrameType.STREAMS_BLOCKED_UNI
            if self._streams_blocked_bidi:
                self._write_streams_blocked_frame(builder, bidi, self._remote_max_streams_bidi)
            if self._streams_blocked_uni:
                self._write_streams_blocked_frame(builder, uni, self._remote_max_streams_uni)
            self._streams_blocked_pending = False
        self._discard_finished_streams()
        self._write_limits(builder)
        if self._ping_pending:
            self._write_ping_frame(builder, self._ping_pending)
            self._ping_pending.clear()
        crypto = self._crypto_streams[tls.Epoch.ONE_RTT]
        if not crypto.sender.buffer_is_empty:
            self._write_crypto_frame(builder, cast(Any, None), crypto)
        for stream in list(self._streams_queue):
            self._write_stream(builder, stream)

    def _write_stream(self, builder: Any, stream: QuicStream) -> None:
        if builder.remaining_buffer_space < STREAM_FRAME_ROOM:
            raise BuilderFull
        if stream.receiver.stop_pending:
            self._write_stop_sending_frame(builder, stream)
        if stream.sender.reset_pending:
            self._write_reset_stream_frame(builder, stream)
        elif not stream.is_blocked and not stream.sender.buffer_is_empty:
            credit = self._remote_max_data - self._remote_max_data_used
            end = min(stream.sender.highest_offset + credit, stream.max_stream_data_remote)
            used = self._write_stream_frame(builder, cast(Any, None), stream, end)
            self._remote_max_data_used += used
            if used:  # the others first, next time
                self._streams_queue.remove(stream)
                self._streams_queue.append(stream)

    def _discard_finished_streams(self) -> None:
        for stream in [stream for stream in self._streams_queue if stream.is_finished]:
            stream_id: int = cast(int, stream.stream_id)
            self._streams_queue.remove(stream)
            del self._streams[stream_id]
            finished: set[int] | None = getattr(self, "_streams_finished", None)  # aioquic 1.2.0
            if finished is not None:
                finished.add(stream_id)
            if bool(stream_id & 1) == self._is_client:  # the peer's: let it open another one
                limit = self._local_max_streams_uni if stream_id & 2 else self._local_max_streams_bidi
                limit.value += 1

    def _write_limits(self, builder: Any) -> None:
        """MAX_STREAM_DATA, MAX_DATA, MAX_STREAMS: windows of a fixed size, where aioquic doubles them."""
        unread = 0
        for stream in self._streams.values():
            receiver = stream.receiver
            unread += receiver.highest_offset - receiver.starting_offset()
            if stream.max_stream_data_local and not receiver.is_finished:
                self._write_stream_window(builder, stream)
        if self._local_max_data.used - unread + WINDOW // 2 >= self._local_max_data.value:
            self._local_max_data.value = self._local_max_data.used - unread + WINDOW
        for limit in (self._local_max_data, self._local_max_streams_bidi, self._local_max_streams_uni):
            if limit.value != limit.sent:
                frame = builder.start_frame(limit.frame_type, 9, self._on_connection_limit_delivery, (limit,))
                frame.push_uint_var(limit.value)
                limit.sent = limit.value

    def _write_stream_window(self, builder: Any, stream: QuicStream) -> None:
        read = stream.receiver.starting_offset()
        if read + WINDOW // 2 >= stream.max_stream_data_local:
            stream.max_stream_data_local = read + WINDOW
        if stream.max_stream_data_local != stream.max_stream_data_local_sent:
            handler = self._on_max_stream_data_delivery
            frame = builder.start_frame(QuicFrameType.MAX_STREAM_DATA, 17, handler, (stream,))
            frame.push_uint_var(stream.stream_id)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    # What aioquic calls

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        """RFC 9000, section 7.5: hold 4096 bytes at least of what comes out of order, and no more than we want."""
        start = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        receiver = self._crypto_streams[context.epoch].receiver
        if end - receiver.starting_offset() > MAX_CRYPTO[self._is_client] or len(receiver._ranges) > MAX_GAPS:
            raise QuicConnectionError(TransportErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too much ahead")
        super()._handle_crypto_frame(context, frame_type, buf)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._cryptos[tls.Epoch.ONE_RTT] = cast(Any, SecretPair(self.handle_secret))
        self._crypto_buffers = defaultdict(partial(Buffer, capacity=CRYPTO_BUFFER_SIZE))  # 48 KiB otherwise
        if self._is_client:
            take = self.tls._set_peer_certificate
            vars(self.tls)["_set_peer_certificate"] = partial(self._take_certificate, take)

    def _take_certificate(self, take: Callable[[tls.Certificate], None], message: tls.Certificate) -> None:
        """That the server has the key of its certificate is proved by its next message, which TLS checks always."""
        take(message)
        try:
            self.handle_certificate(message.certificates[0][0])
        except ValueError as error:
            raise tls.AlertBadCertificate(str(error)) from error

    def _push_crypto_data(self) -> None:
        super()._push_crypto_data()
        self._crypto_buffers.clear()

    def _serialize_transport_parameters(self) -> bytes:
        return super()._serialize_transport_parameters() + self.extra_transport_parameters()

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        self.handle_transport_parameters(pull_quic_transport_parameters(Buffer(data=data)), data)

    def _close_end(self) -> None:
        self._set_state(QuicConnectionState.TERMINATED)

    def _replenish_connection_ids(self) -> None:
        """Connection IDs are issued by path, in cids.py."""
