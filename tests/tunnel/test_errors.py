"""What a peer may do wrong, and on which level it ends: connection, stream, request status, or nowhere.

Every row leaves the other client's tunnel alone. Frames of 1-RTT packets: tests/multipath/test_frames.py; what is
meant to hurt: test_fences.py; each capsule by itself: tests/wire and tests/connectip.
"""

from pathlib import Path

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion

from mqvpn.tunnel import events
from mqvpn.tunnel.server import ServerTunnel
from mqvpn.wire.frame import (
    FRAMES,
    FrameType,
    MaxPathId,
    PathAbandon,
    PathStatus,
    TransportErrorCode,
)
from mqvpn.wire.http3 import H3ErrorCode, Setting
from tests.tunnel.attack import Attack, encode, passes, stream_frame, varints
from tests.tunnel.pair import Network, is_up
from tests.tunnel.test_http3 import CONTROL, DATA, HEADERS, SETTINGS, FakeQuic, Http3, feed, frame
from tests.tunnel.test_server import answer_to

STRANGER = ("203.0.113.9", 1234)


@pytest.fixture
def up(tmp_path: Path) -> Attack:
    return Attack(tmp_path, authenticated=True)


# Connection errors of QUIC


def initial_with(frames: bytes, cid: bytes = b"\x11" * 8) -> bytes:
    """An Initial packet that decrypts, with these frames."""
    keys = CryptoPair()
    keys.setup_initial(cid=cid, is_client=True, version=QuicProtocolVersion.VERSION_1)
    payload = frames.ljust(1160, b"\0")
    header = b"\xc3\0\0\0\1\x08" + cid + b"\x08" + b"\x22" * 8 + b"\0"
    header += (0x4000 | len(payload) + 4 + 16).to_bytes(2) + bytes(4)
    return keys.encrypt_packet(header, payload, 0)


@pytest.mark.parametrize("frame_type", [*FRAMES, FrameType.PATH_ACK, FrameType.PATH_ACK_ECN])
def test_multipath_frames_outside_1rtt_packets(tmp_path: Path, frame_type: int) -> None:
    network = Network(tmp_path)
    good = network.client()
    network.start(good)
    network.run_until(lambda: is_up(good))
    tunnel = network.server.tunnel
    assert isinstance(tunnel, ServerTunnel)
    network.inject(network.server, initial_with(varints(frame_type, 1, 1, 1, 1, 1)), STRANGER)
    [bad] = [quic for quic in tunnel._connections if quic not in [client.connection for client in tunnel.clients]]
    assert bad.close_event is not None
    assert bad.close_event.error_code == TransportErrorCode.PROTOCOL_VIOLATION
    network.run(5.0)
    assert len(tunnel._connections) == 1
    assert passes(network, good)


CONNECTION_ERRORS = {
    "PATH_ABANDON above our limit": (encode(PathAbandon(60, 0)), TransportErrorCode.PROTOCOL_VIOLATION),
    "PATH_STATUS above our limit": (encode(PathStatus(60, 1, False)), TransportErrorCode.PROTOCOL_VIOLATION),
    "MAX_PATH_ID lowered": (encode(MaxPathId(2)), TransportErrorCode.PROTOCOL_VIOLATION),
    "a frame type in two bytes": (b"\x40\x1e", TransportErrorCode.FRAME_ENCODING_ERROR),
    "STREAM on a stream of ours that is not open": (stream_frame(1, 0, b"x"), TransportErrorCode.STREAM_STATE_ERROR),
    "quarter stream ID of 2^60": (varints(0x31, 9, 1 << 60, 0), H3ErrorCode.H3_DATAGRAM_ERROR),
    "half a quarter stream ID": (varints(0x31, 1) + b"\xc0", H3ErrorCode.H3_DATAGRAM_ERROR),
    "no quarter stream ID": (varints(0x31, 0), H3ErrorCode.H3_DATAGRAM_ERROR),
    "a second control stream": (stream_frame(14, 0, b"\0"), H3ErrorCode.H3_STREAM_CREATION_ERROR),
    "DATA before HEADERS": (stream_frame(4, 0, frame(DATA, b"x")), H3ErrorCode.H3_FRAME_UNEXPECTED),
    "SETTINGS on a request stream": (stream_frame(4, 0, frame(SETTINGS, b"")), H3ErrorCode.H3_FRAME_UNEXPECTED),
    "control stream reset": (varints(0x04, 2, 0, 100), H3ErrorCode.H3_CLOSED_CRITICAL_STREAM),
    "QPACK encoder stream reset": (varints(0x04, 6, 0, 100), H3ErrorCode.H3_CLOSED_CRITICAL_STREAM),
    "STOP_SENDING for our control stream": (varints(0x05, 3, 0), H3ErrorCode.H3_CLOSED_CRITICAL_STREAM),
    "STOP_SENDING for our QPACK decoder stream": (varints(0x05, 11, 0), H3ErrorCode.H3_CLOSED_CRITICAL_STREAM),
    "the same behind what is answered there": (  # found by the fuzzer
        varints(0x04, 4, 0, 0, 0x05, 11, 0),
        H3ErrorCode.H3_CLOSED_CRITICAL_STREAM,
    ),
    "field section that does not decode": (
        stream_frame(4, 0, frame(HEADERS, b"\0\0\xff\xff")),
        H3ErrorCode.QPACK_DECOMPRESSION_FAILED,
    ),
}


@pytest.mark.parametrize(("frames", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
def test_errors_of_the_connection(up: Attack, frames: bytes, code: int) -> None:
    up.send(frames, seconds=0.3)
    assert up.ended_with() == code
    assert up.others_are_unhurt()


SETTINGS_ERRORS = {
    "H3_DATAGRAM of 2": varints(Setting.H3_DATAGRAM, 2),
    "ENABLE_CONNECT_PROTOCOL of 2": varints(Setting.ENABLE_CONNECT_PROTOCOL, 2),
    "one setting twice": varints(Setting.H3_DATAGRAM, 1, Setting.H3_DATAGRAM, 1),
    "a setting of HTTP/2": varints(0x02, 1),
}


@pytest.mark.parametrize("settings", SETTINGS_ERRORS.values(), ids=SETTINGS_ERRORS)
def test_settings(settings: bytes) -> None:
    quic = FakeQuic(is_client=False)
    feed(Http3(quic), 2, bytes([CONTROL]) + frame(SETTINGS, settings))
    assert quic.closed == H3ErrorCode.H3_SETTINGS_ERROR


def test_h3_datagram_without_quic_datagram() -> None:
    quic = FakeQuic(is_client=False)
    quic._remote_max_datagram_frame_size = None  # type: ignore[assignment]
    feed(Http3(quic), 2, bytes([CONTROL]) + frame(SETTINGS, varints(Setting.H3_DATAGRAM, 1)))
    assert quic.closed == H3ErrorCode.H3_SETTINGS_ERROR


def test_the_first_frame_is_settings() -> None:
    quic = FakeQuic(is_client=False)
    feed(Http3(quic), 2, bytes([CONTROL]) + frame(0x07, b"\0"))
    assert quic.closed == H3ErrorCode.H3_MISSING_SETTINGS


# Errors of the request stream

MALFORMED = {
    "ADDRESS_REQUEST for nothing": "0200",
    "ADDRESS_REQUEST with ID 0": "0207 00 04 00000000 20",
    "ADDRESS_REQUEST with one ID twice": "020e 01 04 00000000 20 01 04 00000000 20",
    "ADDRESS_ASSIGN with bits beyond the prefix": "0107 00 04 0a000001 08",
    "ADDRESS_ASSIGN with a prefix of 33": "0107 00 04 0a000001 21",
    "ADDRESS_ASSIGN of IP version 5": "0107 00 05 0a000001 20",
    "ADDRESS_ASSIGN cut short": "0106 00 04 0a000001",
    "ROUTE_ADVERTISEMENT that ends before it starts": "030a 04 0a000002 0a000001 00",
    "ROUTE_ADVERTISEMENT out of order": "0314 04 0b000000 0b000001 00 04 0a000000 0a000001 00",
    "ROUTE_ADVERTISEMENT that overlaps": "0314 04 0a000000 0a000005 00 04 0a000005 0a000009 00",
    "ROUTE_ADVERTISEMENT with bytes behind": "030b 04 0a000001 0a000002 00 00",
    "ADDRESS_ASSIGN of a megabyte": "01 80100000",
}


@pytest.mark.parametrize("capsule", MALFORMED.values(), ids=MALFORMED)
def test_malformed_capsules(up: Attack, capsule: str) -> None:
    up.send_stream(0, frame(DATA, bytes.fromhex(capsule)))
    [left] = up.network.server.of(events.ClientLeft)
    assert H3ErrorCode.H3_MESSAGE_ERROR.name in left.reason
    assert up.server.active == 1
    assert up.others_are_unhurt()


def test_the_end_inside_a_capsule(up: Attack) -> None:
    up.quic.send_stream_data(0, frame(DATA, b"\x02\x09\x01"), end_stream=True)
    up.settle()
    up.network.run(0.3)
    [left] = up.network.server.of(events.ClientLeft)
    assert H3ErrorCode.H3_MESSAGE_ERROR.name in left.reason
    assert up.others_are_unhurt()


HARMLESS = {
    "unknown capsule": frame(DATA, varints(0x2B77, 5) + b"hello"),
    "capsules of the C mqvpn's descendants": frame(DATA, varints(0x4D51504C, 3) + b"abc"),
    "a capsule in many DATA frames": b"".join(
        frame(DATA, bytes([byte])) for byte in bytes.fromhex("0207010400000000 20")
    ),
    "an empty DATA frame": frame(DATA, b""),
    "a reserved frame type": frame(0x21 + 31 * 0x1F, b"grease"),
    "all addresses withdrawn": frame(DATA, bytes.fromhex("0100")),
    "no routes": frame(DATA, bytes.fromhex("0300")),
    "DATAGRAM capsule of an unknown context": frame(DATA, bytes.fromhex("0002 08ff")),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_what_the_stream_takes(up: Attack, data: bytes) -> None:
    up.send_stream(0, data)
    assert up.ended_with() is None
    assert up.network.server.of(events.ClientLeft) == []
    assert up.others_are_unhurt()
    assert passes(up.network, up.bad)


# Requests. RFC 9297, section 3.4: a Capsule-Protocol field that is wrong is as good as none, and none is no error.

REQUESTS: dict[str, tuple[dict[bytes, bytes | None], bytes]] = {
    "scheme http": ({b":scheme": b"http"}, b"400"),
    "no capsule-protocol": ({b"capsule-protocol": None}, b"200"),
    "capsule-protocol of another type": ({b"capsule-protocol": b"1"}, b"200"),
    "content-length": ({b"content-length": b"0"}, b"400"),
    "protocol number 256": ({b":path": b"/.well-known/masque/ip/*/256/"}, b"400"),
    "a DNS name": ({b":path": b"/.well-known/masque/ip/example.com/*/"}, b"501"),
    "one protocol only": ({b":path": b"/.well-known/masque/ip/*/17/"}, b"501"),
    "another path": ({b":path": b"/"}, b"404"),
}


@pytest.mark.parametrize(("changes", "status"), REQUESTS.values(), ids=REQUESTS)
def test_requests_are_answered_by_status(tmp_path: Path, changes: dict[bytes, bytes | None], status: bytes) -> None:
    attack = Attack(tmp_path)
    assert answer_to(attack.network, attack.bad, changes) == status
    assert attack.ended_with() is None
    assert attack.others_are_unhurt()
