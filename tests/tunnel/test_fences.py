"""What a hostile client can make the server do: little, for a bounded time, and at nobody else's cost."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqvpn.multipath.cids import ACTIVE_CONNECTION_ID_LIMIT
from mqvpn.multipath.seam import MAX_CRYPTO, MAX_STREAMS, WINDOW
from mqvpn.tunnel.http3 import MAX_FRAME, MAX_HELD
from mqvpn.tunnel.server import MAX_HALF_OPEN_FROM_ONE, RETRY_FROM, SETUP_TIMEOUT, ServerTunnel
from mqvpn.wire.frame import (
    PATH_ID_MAX,
    PathAbandon,
    PathNewConnectionId,
    TransportErrorCode,
)
from mqvpn.wire.http3 import H3ErrorCode
from tests.tunnel.attack import Attack, encode, growth, resident, stream_frame, varints
from tests.tunnel.pair import Network, is_up
from tests.tunnel.test_errors import initial_with
from tests.tunnel.test_server import initial

HEADERS, DATA = 0x01, 0x00
ENCODER_STREAM = 6  # a client's second unidirectional stream: control, encoder, decoder
BEFORE_AUTHENTICATION = 64 * 1024
HALF_OPEN = 48 * 1024  # bytes of Python objects for one half-open handshake, half of them TLS and aioquic


@pytest.fixture
def attack(tmp_path: Path) -> Iterator[Attack]:
    attack = Attack(tmp_path)
    yield attack
    assert attack.others_are_unhurt()


def new_cids(path_id: int) -> bytes:
    row = range(10, 10 + ACTIVE_CONNECTION_ID_LIMIT)
    return b"".join(encode(PathNewConnectionId(path_id, n, 0, bytes([path_id, n]) * 4, bytes(16))) for n in row)


FORBIDDEN: dict[str, tuple[bytes, int]] = {
    "QPACK table": (stream_frame(ENCODER_STREAM, 1, b"\x3f\xe1\x1f"), H3ErrorCode.QPACK_ENCODER_STREAM_ERROR),
    "endless HEADERS": (stream_frame(0, 0, varints(HEADERS, 1 << 30) + b"\0\0"), H3ErrorCode.H3_EXCESSIVE_LOAD),
    "endless unknown frame": (stream_frame(0, 0, varints(0x21, 1 << 40)), H3ErrorCode.H3_EXCESSIVE_LOAD),
    "static table bomb": (
        stream_frame(0, 0, varints(HEADERS, 1002) + b"\0\0" + bytes([0xC0 | 28]) * 1000),
        H3ErrorCode.H3_EXCESSIVE_LOAD,
    ),
    "a stream too many": (stream_frame(4 * MAX_STREAMS, 0, b"x"), TransportErrorCode.STREAM_LIMIT_ERROR),
    "a stream far too many": (stream_frame((1 << 60) - 4, 0, b"x"), TransportErrorCode.STREAM_LIMIT_ERROR),
    "beyond the stream's window": (stream_frame(0, WINDOW, b"x"), TransportErrorCode.FLOW_CONTROL_ERROR),
    "beyond the window by RESET_STREAM": (varints(0x04, 0, 0, WINDOW + 1), TransportErrorCode.FLOW_CONTROL_ERROR),
    "CRYPTO far ahead": (varints(0x06, MAX_CRYPTO[0], 1) + b"x", TransportErrorCode.CRYPTO_BUFFER_EXCEEDED),
    "connection IDs": (new_cids(1), TransportErrorCode.CONNECTION_ID_LIMIT_ERROR),
    "ACK of unsent packets": (varints(0x02, 1 << 20, 0, 0, 0), TransportErrorCode.PROTOCOL_VIOLATION),
    "PATH_ACK of unsent packets": (varints(0x3E, 0, 1 << 20, 0, 0, 0), TransportErrorCode.PROTOCOL_VIOLATION),
    "path ID 2^32-1": (encode(PathAbandon(PATH_ID_MAX, 0)), TransportErrorCode.PROTOCOL_VIOLATION),
    "HANDSHAKE_DONE": (b"\x1e", TransportErrorCode.PROTOCOL_VIOLATION),
    "NEW_TOKEN": (b"\x07\x01x", TransportErrorCode.PROTOCOL_VIOLATION),
}


@pytest.mark.parametrize(("frames", "code"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_ends_the_connection_at_once(attack: Attack, frames: bytes, code: int) -> None:
    attack.send(frames)
    assert attack.ended_with() == code
    attack.network.run(5.0)
    assert attack.victim is None
    assert attack.server.half_open == 0


def test_unfinished_headers_on_many_streams(attack: Attack) -> None:
    """Each stays below what one request may have; together they are more than may wait for a request."""
    part = varints(HEADERS, MAX_FRAME - 10) + b"\0\0" + b"\xd1" * (MAX_FRAME - 100)
    with growth() as grown:
        for number in range(MAX_STREAMS):
            attack.send_stream(4 * number, part)
            attack.network.run(0.3)
        assert attack.ended_with() == H3ErrorCode.H3_EXCESSIVE_LOAD
        attack.network.run(5.0)
        attack.quic._streams.clear()  # the attacker's own memory
    assert grown[0] < BEFORE_AUTHENTICATION
    assert MAX_HELD + WINDOW <= BEFORE_AUTHENTICATION


def test_data_in_pieces_that_never_join(attack: Attack) -> None:
    """One byte of every two: as many gaps as there can be, which cost time and memory."""
    started = time.process_time()
    for start in range(1, WINDOW, 2 * 100):
        attack.send(b"".join(stream_frame(0, start + 2 * n, b"x") for n in range(100)), seconds=0.01)
    assert attack.ended_with() == TransportErrorCode.INTERNAL_ERROR
    assert time.process_time() - started < 2.0


def test_a_slow_request(attack: Attack) -> None:
    """HEADERS byte by byte: the time for a request does not begin anew."""
    attack.send_stream(0, varints(HEADERS, 1000))
    for _ in range(round(SETUP_TIMEOUT) + 1):
        attack.send_stream(0, b"\xd1")
        attack.network.run(0.9)
    assert attack.ended_with() == H3ErrorCode.H3_REQUEST_INCOMPLETE


def test_rapid_reset(attack: Attack) -> None:
    """Requests given up at once, each freeing a stream for the next one."""
    request = varints(HEADERS, 8) + b"\0\0\xd1\xd7\xc1\x50\x01x"  # GET https://x/
    for stream_id in range(0, 400, 4):
        attack.send_stream(stream_id, request)
        if attack.ended_with() is None:
            attack.quic.reset_stream(stream_id, H3ErrorCode.H3_REQUEST_CANCELLED)
            attack.settle()
    assert attack.ended_with() == H3ErrorCode.H3_EXCESSIVE_LOAD


def challenges(number: int) -> bytes:
    return b"".join(b"\x1a" + number.to_bytes(4) + n.to_bytes(4) for n in range(120))


TOLERATED: dict[str, Callable[[int], bytes]] = {
    "PING": lambda _: b"\x01" * 1000,
    "PADDING": lambda _: bytes(1000) + b"\x01",
    "PATH_CHALLENGE": challenges,
    "PATH_RESPONSE": lambda _: b"\x1b12345678" * 100,
    "MAX_DATA": lambda number: varints(0x10, 1 << 40, 0x10, number) * 50,
    "MAX_STREAMS": lambda number: varints(0x12, 1 << 40) * 50,
    "STREAMS_BLOCKED": lambda number: varints(0x16, number) * 50,
    "DATAGRAM of no request": lambda _: varints(0x31, 3, 9, 0, 1),
    "DATAGRAM of no context": lambda _: varints(0x31, 2, 0, 5),
}


@pytest.mark.parametrize("kind", TOLERATED)
def test_floods_that_cost_nothing_for_long(attack: Attack, kind: str) -> None:
    make = TOLERATED[kind]
    for number in range(50):  # what is allocated once
        attack.send(make(number), seconds=0.02)
    said = attack.victim.connection.engine_connection.path(0).tx_bytes if attack.victim is not None else 0
    started = time.process_time()
    with growth() as grown:
        for number in range(50, 200):
            attack.send(make(number), seconds=0.005)
        attack.network.run(0.2)
    assert attack.ended_with() is None
    assert attack.victim is not None
    assert grown[0] < BEFORE_AUTHENTICATION
    assert grown[1] < 4 << 20
    assert time.process_time() - started < 3.0
    answered = attack.victim.connection.engine_connection.path(0).tx_bytes - said
    assert answered <= 5 * 150 * 1200  # at most four answers to 120 challenges in one packet


def burn(attack: Attack, path_id: int) -> None:
    attack.send(encode(PathAbandon(path_id, 0)), seconds=0.02)


def test_path_flooding(tmp_path: Path) -> None:
    """Path IDs burnt as fast as the limit rises: never more than eight are known, and memory stays."""
    attack = Attack(tmp_path, authenticated=True)
    victim = attack.victim
    assert victim is not None
    limits = victim.connection._limits
    for _ in range(100):
        burn(attack, limits.own or 0)
    with growth() as grown:
        for _ in range(300):
            burn(attack, limits.own or 0)
            assert len(victim.connection.paths) <= 9
            assert len(victim.connection._issuance.local.paths) <= 10
    assert attack.ended_with() is None
    assert 50 < (limits.own or 0) <= 8 + 400
    assert grown[0] < BEFORE_AUTHENTICATION
    assert attack.others_are_unhurt()


@pytest.mark.parametrize(
    ("number", "bound"), [(2500, 4 << 20), pytest.param(200_000, 20 << 20, marks=[pytest.mark.bench, pytest.mark.slow])]
)
def test_half_open_handshakes_of_noise(tmp_path: Path, number: int, bound: int) -> None:
    """Well-formed Initial packets that decrypt to nothing, each from another address, leave nothing behind."""
    network = Network(tmp_path)
    for n in range(number):
        network.inject(network.server, initial(), (f"203.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1000))
        if n == 500:  # what is allocated once, and garbage that waits for its collection
            before = resident()
    grown = resident() - before
    print(f"{number} Initial packets: the server grew by {grown / 1e6:.1f} MB")
    assert grown < bound
    tunnel = network.server.tunnel
    assert tunnel._connections == {}
    assert tunnel.next_timeout() is None


def hellos(network: Network, number: int) -> list[list[bytes]]:
    """The first flights of so many clients that are heard of no more."""
    flights = []
    for _ in range(number):
        client = network.client()
        network.ends.remove(client)
        client.tunnel.handle_timeout(network.now)
        client.tunnel.handle_events(network.now)
        flights.append([data for _, _, _, data in client.tunnel.datagrams()])
    return flights


def test_half_open_handshakes_from_everywhere(tmp_path: Path) -> None:
    """Real first flights, each from another address that is not the sender's: only the first ones take a place."""
    network = Network(tmp_path)
    flights = hellos(network, 500)
    with growth() as grown:
        for number, flight in enumerate(flights):
            for data in flight:
                network.inject(network.server, data, (f"203.0.{number >> 8}.{number & 255}", 999))
        network._flying.clear()
    tunnel = network.server.tunnel
    assert isinstance(tunnel, ServerTunnel)
    assert tunnel.half_open == RETRY_FROM
    assert grown[0] < RETRY_FROM * HALF_OPEN
    assert grown[0] < len(flights) * (8 << 10)
    client = network.client()
    network.start(client)
    assert network.run_until(lambda: is_up(client), 2.0)
    network.run(SETUP_TIMEOUT)
    assert tunnel.half_open == 0


@pytest.mark.parametrize("authenticated", [False, True])
def test_datagrams_of_noise(tmp_path: Path, authenticated: bool) -> None:
    """Packets that look like the hostile client's own, or like nothing, before its request and after."""
    attack = Attack(tmp_path, authenticated=authenticated)
    victim = attack.victim
    assert victim is not None
    client = attack.bad.address
    heads = [bytes([first]) + victim.connection.host_cid for first in (0x40, 0x43, 0x5F)]
    heads += [b"\xc3\0\0\0\1\x08" + victim.connection.host_cid + b"\0", b"\xe3\0\0\0\1", b"\0", b"\xff" * 30]
    for number in range(700):
        data = heads[number % len(heads)] + os.urandom(number % 1300)
        attack.network.inject(attack.network.server, data, client)
    attack.network.run(1.0)
    assert attack.ended_with() is None
    assert attack.others_are_unhurt()


@pytest.mark.parametrize("origin", ["203.0.113.9", "2001:db8::{:x}", "fe80::{:x}%3"])
def test_one_source_cannot_take_every_half_open_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """One IPv4 address; of IPv6 a whole /64, for a host has all of that."""
    monkeypatch.setattr("mqvpn.tunnel.server.RETRY_FROM", 1000)
    network = Network(tmp_path)
    for number in range(2 * MAX_HALF_OPEN_FROM_ONE):
        network.inject(network.server, initial_with(b"\x01", number.to_bytes(8)), (origin.format(number), number))
    tunnel = network.server.tunnel
    assert isinstance(tunnel, ServerTunnel)
    assert tunnel.half_open == MAX_HALF_OPEN_FROM_ONE
    network.inject(network.server, initial_with(b"\x01", b"from-far"), ("2001:db8:0:1::1", 1))
    assert tunnel.half_open == MAX_HALF_OPEN_FROM_ONE + 1
    client = network.client()
    network.start(client)
    assert network.run_until(lambda: is_up(client), 2.0)
