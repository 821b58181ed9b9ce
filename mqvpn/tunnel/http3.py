"""HTTP/3 for one connection (RFC 9114), the only importer of aioquic.h3.

What an unauthenticated peer can make us hold is bounded here: no QPACK table and no blocked streams
(RFC 9204, section 5), 16 KiB for a frame that must be complete before it is read and 32 KiB for all of them, 32 KiB
for a decoded field section, 32 streams at a time. A peer that goes beyond ends its connection with H3_EXCESSIVE_LOAD.
All private names of aioquic's HTTP/3 that are touched stand in _Connection.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pylsqpack
from aioquic.h3 import events as h3_events
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, ProtocolError
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived, StreamReset

from mqvpn.wire.http3 import H3ErrorCode, Setting

Headers = list[tuple[bytes, bytes]]

MAX_FRAME: Final = 16 * 1024
MAX_HELD: Final = 32 * 1024
MAX_FIELD_SECTION: Final = 32 * 1024
MAX_STREAMS: Final = 32
_PIECE: Final = 4096
_FIELD_OVERHEAD: Final = 32  # RFC 9114, section 4.2.2: what each field line adds to its name and value


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """The first field section of a request stream: a request, or a response that is not interim."""

    stream_id: int
    headers: Headers
    ended: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Content of a request stream; `ended`: the peer closed its side cleanly behind it."""

    stream_id: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class StreamAborted:
    """The peer gave the request up: RESET_STREAM or STOP_SENDING."""

    stream_id: int
    error_code: int


Event = HeadersReceived | DataReceived | StreamAborted


class Http3:
    """Requests and their data on one QUIC connection; opens the control and QPACK streams at once."""

    def __init__(self, quic: Any) -> None:
        self._quic = quic
        self._h3 = _Connection(quic)
        self._open: set[int] = set()  # request streams whose headers were received

    @property
    def settings_received(self) -> bool:
        """Whether the peer's SETTINGS are known; before that a client must not use `:protocol`."""
        return self._h3.received_settings is not None

    @property
    def connect_allowed(self) -> bool:
        """Whether the peer takes extended CONNECT (RFC 9220)."""
        settings = self._h3.received_settings or {}
        return settings.get(Setting.ENABLE_CONNECT_PROTOCOL) == 1

    @property
    def by_capsules(self) -> bool:
        """Whether the peer takes HTTP Datagrams in capsules only (RFC 9297, section 2.1.1; RFC 9221, section 3)."""
        settings = self._h3.received_settings
        refused = settings is not None and settings.get(Setting.H3_DATAGRAM) != 1
        return refused or not self._quic.takes_datagrams

    def request(self, headers: Headers) -> int:
        """Open a request stream and send its headers; returns the stream ID."""
        stream_id: int = self._quic.get_next_available_stream_id()
        self._h3.send_headers(stream_id, headers)
        return stream_id

    def respond(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        self._h3.send_headers(stream_id, headers, end)

    def data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        self._h3.send_data(stream_id, data, end)

    def reset(self, stream_id: int, error_code: int) -> None:
        """Abort both directions of a request stream; what is closed already stays closed."""
        self._open.discard(stream_id)
        for abort in (self._quic.reset_stream, self._quic.stop_stream):
            try:
                abort(stream_id, error_code)
            except (AssertionError, ValueError):
                continue

    def handle_event(self, event: QuicEvent) -> list[Event]:
        """Turn an event of the QUIC connection into what it means for requests.

        Closes the connection itself, with the right error code, when the peer breaks HTTP/3.
        """
        if isinstance(event, StreamDataReceived):
            found: list[Event] = []
            for piece in _pieces(event):
                found += self._translate(self._h3.receive(piece))
                self._h3.enforce_limits(event.stream_id)
            return found
        if isinstance(event, StreamReset | StopSendingReceived):
            self._h3.receive(event)
            self._open.discard(event.stream_id)
            return [StreamAborted(event.stream_id, event.error_code)] if event.stream_id % 4 == 0 else []
        return []

    def _translate(self, events: list[h3_events.H3Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, h3_events.HeadersReceived) and event.push_id is None:
                yield from self._headers(event)
            elif isinstance(event, h3_events.DataReceived) and event.push_id is None:
                yield DataReceived(event.stream_id, event.data, event.stream_ended)

    def _headers(self, event: h3_events.HeadersReceived) -> Iterator[Event]:
        if event.stream_id in self._open:
            # RFC 9114, section 4.4: on a CONNECT stream "receipt of any other known frame type MUST be
            # treated as a connection error of type H3_FRAME_UNEXPECTED", trailers included.
            self._quic.close(error_code=H3ErrorCode.H3_FRAME_UNEXPECTED, reason_phrase="trailers")
        elif not dict(event.headers).get(b":status", b"").startswith(b"1"):
            self._open.add(event.stream_id)
            yield HeadersReceived(event.stream_id, event.headers, event.stream_ended)


def _pieces(event: StreamDataReceived) -> Iterator[StreamDataReceived]:
    # A frame that is larger than MAX_FRAME is never complete inside one piece, so enforce_limits() sees its
    # announced length before aioquic decodes it.
    if len(event.data) <= _PIECE:
        yield event
        return
    data = event.data
    for start in range(0, len(data), _PIECE):
        end = event.end_stream and start + _PIECE >= len(data)
        yield StreamDataReceived(data[start : start + _PIECE], end, event.stream_id)


class _ExcessiveLoad(ProtocolError):
    error_code = ErrorCode.H3_EXCESSIVE_LOAD


class _Connection(H3Connection):
    """aioquic's HTTP/3 with its limits lowered."""

    def _init_connection(self) -> None:
        self._max_table_capacity = 0
        self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        self._max_push_id = None
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return {
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.MAX_FIELD_SECTION_SIZE: MAX_FIELD_SECTION,
            Setting.QPACK_BLOCKED_STREAMS: 0,
            Setting.ENABLE_CONNECT_PROTOCOL: 1,
            Setting.H3_DATAGRAM: 1,
        }

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers: Headers = super()._decode_headers(stream_id, frame_data)
        if sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in headers) > MAX_FIELD_SECTION:
            raise _ExcessiveLoad("field section too large")
        return headers

    def receive(self, event: QuicEvent) -> list[h3_events.H3Event]:
        """Like handle_event(), but a critical stream that the peer wants closed ends the connection."""
        critical = {self._peer_control_stream_id, self._peer_decoder_stream_id, self._peer_encoder_stream_id}
        if isinstance(event, StopSendingReceived) and event.stream_id & 2:  # all of these that we open are critical
            critical.add(event.stream_id)
        if isinstance(event, StreamReset | StopSendingReceived) and event.stream_id in critical:
            return self._closed_critical_stream()
        try:
            return self.handle_event(event)
        except RuntimeError:  # its STOP_SENDING closed the stream for our answer, and that event is still to come
            return self._closed_critical_stream()

    def _closed_critical_stream(self) -> list[h3_events.H3Event]:
        """RFC 9114, section 6.2.1, and RFC 9204, section 4.2."""
        self._end(ErrorCode.H3_CLOSED_CRITICAL_STREAM, "a critical stream was closed")
        return []

    def _end(self, code: int, reason: str) -> None:
        self._is_done = True
        self._quic.close(error_code=code, reason_phrase=reason)

    def enforce_limits(self, stream_id: int) -> None:
        """Close the connection if the stream announces or holds more than a frame may have, or all hold too much."""
        stream = self._stream.get(stream_id)
        if stream is None or self._is_done:
            return
        announced = 0 if stream.frame_type == FrameType.DATA else stream.frame_size or 0
        held = max(announced, len(stream.buffer) - _PIECE)
        total = sum(len(other.buffer) for other in self._stream.values())
        if held > MAX_FRAME or total > MAX_HELD or len(self._stream) > MAX_STREAMS:
            self._end(ErrorCode.H3_EXCESSIVE_LOAD, "too much to hold")
