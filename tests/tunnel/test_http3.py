"""Http3 between two ends in memory, and against peers that send what they must not; with every aioquic."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
from aioquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset

from mqvpn.tunnel.http3 import (
    MAX_FRAME,
    MAX_STREAMS,
    DataReceived,
    Event,
    HeadersReceived,
    Http3,
    StreamAborted,
)
from mqvpn.wire.buffer import Writer
from mqvpn.wire.http3 import H3ErrorCode, Setting

REQUEST = [
    (b":method", b"CONNECT"),
    (b":protocol", b"connect-ip"),
    (b":scheme", b"https"),
    (b":authority", b"vpn.example"),
    (b":path", b"/.well-known/masque/ip/*/*/"),
    (b"capsule-protocol", b"?1"),
]
RESPONSE = [(b":status", b"200"), (b"capsule-protocol", b"?1")]
HEADERS, DATA, SETTINGS = 0x01, 0x00, 0x04
CONTROL, ENCODER = 0x00, 0x02  # unidirectional stream types


class FakeQuic:
    """The streams of a QUIC connection: what one end sends waits here until carry() takes it to the other."""

    def __init__(self, *, is_client: bool) -> None:
        self.configuration = SimpleNamespace(is_client=is_client)
        self._quic_logger = None
        self._remote_max_datagram_frame_size = 65535
        self._next = {False: 0 if is_client else 1, True: 2 if is_client else 3}
        self.sent: dict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.aborted: list[tuple[str, int, int]] = []
        self.closed: int | None = None

    def get_next_available_stream_id(self, is_unidirectional: bool = False) -> int:
        number = self._next[is_unidirectional]
        if is_unidirectional:
            self._next[True] += 4
        return number

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        self.sent[stream_id] += data
        if end_stream:
            self.ended.add(stream_id)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        self.aborted.append(("reset", stream_id, error_code))

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        self.aborted.append(("stop", stream_id, error_code))

    def close(self, error_code: int, frame_type: int | None = None, reason_phrase: str = "") -> None:
        if self.closed is None:
            self.closed = error_code


def carry(source: FakeQuic, target: Http3) -> list[Event]:
    """Deliver everything that `source` sent since the last time."""
    sent, source.sent = source.sent, defaultdict(bytearray)
    found: list[Event] = []
    for stream_id, data in sent.items():
        ended = stream_id in source.ended
        found += target.handle_event(StreamDataReceived(bytes(data), ended, stream_id))
    return found


@pytest.fixture
def ends() -> tuple[FakeQuic, Http3, FakeQuic, Http3]:
    """A client and a server that have each other's SETTINGS."""
    client_quic, server_quic = FakeQuic(is_client=True), FakeQuic(is_client=False)
    client, server = Http3(client_quic), Http3(server_quic)
    assert not client.settings_received
    carry(server_quic, client)
    carry(client_quic, server)
    return client_quic, client, server_quic, server


def frame(kind: int, payload: bytes, length: int | None = None) -> bytes:
    out = Writer()
    out.varint(kind)
    out.varint(len(payload) if length is None else length)
    out.write(payload)
    return bytes(out)


def feed(http: Http3, stream_id: int, data: bytes, *, end: bool = False) -> list[Event]:
    return http.handle_event(StreamDataReceived(data, end, stream_id))


def test_request_response_and_data(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    client_quic, client, server_quic, server = ends
    assert client.connect_allowed
    stream_id = client.request(REQUEST)
    assert carry(client_quic, server) == [HeadersReceived(stream_id, REQUEST, False)]
    server.respond(stream_id, RESPONSE)
    server.data(stream_id, b"capsule")
    received = carry(server_quic, client)
    assert received == [
        HeadersReceived(stream_id, RESPONSE, False),
        DataReceived(stream_id, b"capsule", False),
    ]
    client.data(stream_id, b"", end=True)
    assert carry(client_quic, server) == [DataReceived(stream_id, b"", True)]


def test_settings_are_what_connect_ip_needs(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    settings = ends[1]._h3.received_settings
    assert settings is not None
    assert settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
    assert settings[Setting.H3_DATAGRAM] == 1
    assert settings[Setting.QPACK_MAX_TABLE_CAPACITY] == 0
    assert settings[Setting.QPACK_BLOCKED_STREAMS] == 0


def test_a_server_without_extended_connect() -> None:
    client = Http3(FakeQuic(is_client=True))
    feed(client, 3, bytes([CONTROL]) + frame(SETTINGS, b""))
    assert client.settings_received
    assert not client.connect_allowed


def test_large_content_arrives_whole(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    client_quic, client, _, server = ends
    stream_id = client.request(REQUEST)
    carry(client_quic, server)
    content = bytes(range(256)) * 400
    client.data(stream_id, content, end=True)
    events = carry(client_quic, server)
    assert b"".join(event.data for event in events if isinstance(event, DataReceived)) == content
    assert [event.ended for event in events if isinstance(event, DataReceived)][-1]


@pytest.mark.parametrize("event", [StreamReset(error_code=7, stream_id=0), StopSendingReceived(7, 0)])
def test_the_peer_gives_up(ends: tuple[FakeQuic, Http3, FakeQuic, Http3], event: StreamReset) -> None:
    client_quic, client, _, server = ends
    client.request(REQUEST)
    carry(client_quic, server)
    assert server.handle_event(event) == [StreamAborted(0, 7)]


def test_reset_aborts_both_directions(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    _, _, server_quic, server = ends
    server.reset(0, H3ErrorCode.H3_MESSAGE_ERROR)
    assert server_quic.aborted == [("reset", 0, 0x10E), ("stop", 0, 0x10E)]


def test_trailers_end_the_connection(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    client_quic, client, server_quic, server = ends
    stream_id = client.request(REQUEST)
    carry(client_quic, server)
    client.respond(stream_id, [(b"a", b"b")])
    assert carry(client_quic, server) == []
    assert server_quic.closed == H3ErrorCode.H3_FRAME_UNEXPECTED


def test_qpack_bomb_costs_nothing(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    """A dynamic table entry of 4,000 bytes would be referred to 20,000 times: the table does not exist."""
    _, _, server_quic, server = ends
    set_capacity = b"\x3f\xe1\x1f"  # RFC 9204, section 4.3.1: 4096
    feed(server, 6, bytes([ENCODER]) + set_capacity)
    assert server_quic.closed == H3ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_many_references_to_a_static_entry(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    _, _, server_quic, server = ends
    reference = 0xC0 | 28  # RFC 9204, section 4.5.2: an Indexed Field Line of the static table, in one byte
    feed(server, 0, frame(HEADERS, b"\0\0" + bytes([reference]) * 8000))
    assert server_quic.closed == H3ErrorCode.H3_EXCESSIVE_LOAD


@pytest.mark.parametrize("kind", [HEADERS, 0x21, 0x5F])
def test_a_frame_that_is_never_finished(ends: tuple[FakeQuic, Http3, FakeQuic, Http3], kind: int) -> None:
    _, _, server_quic, server = ends
    feed(server, 0, frame(kind, b"\0", length=MAX_FRAME + 2))
    assert server_quic.closed == H3ErrorCode.H3_EXCESSIVE_LOAD


def test_a_large_frame_that_is_complete(ends: tuple[FakeQuic, Http3, FakeQuic, Http3]) -> None:
    """Reassembled from reordered packets it arrives at once, and is still not decoded."""
    _, _, server_quic, server = ends
    assert feed(server, 0, frame(HEADERS, b"\0\0" + b"\xd1" * (MAX_FRAME + 1))) == []
    assert server_quic.closed == H3ErrorCode.H3_EXCESSIVE_LOAD


def test_unfinished_settings() -> None:
    quic = FakeQuic(is_client=False)
    server = Http3(quic)
    feed(server, 2, bytes([CONTROL]) + frame(SETTINGS, b"\0" * 40, length=1 << 30))
    for _ in range(8):
        feed(server, 2, b"\0" * 4096)
    assert quic.closed is not None


def test_too_many_streams() -> None:
    quic = FakeQuic(is_client=False)
    server = Http3(quic)
    for number in range(MAX_STREAMS + 2):
        feed(server, 4 * number, frame(HEADERS, b"\0", length=100))
    assert quic.closed == H3ErrorCode.H3_EXCESSIVE_LOAD
