"""MultipathConnection: what its application sees, from the handshake to the end."""

import logging
from typing import Any

import pytest

from mqvpn.dataplane.engine import CONTROL, UNKNOWN
from mqvpn.multipath.cids import stateless_reset
from mqvpn.multipath.connection import CannotOpenPath, MultipathConnection
from mqvpn.multipath.events import MtuChanged, PathEstablished
from mqvpn.multipath.lifetime import HANDSHAKE_TIMEOUT
from mqvpn.multipath.parameters import write_initial_max_path_id
from mqvpn.multipath.seam import ConnectionTerminated, QuicConnectionError, QuicTransportParameters
from mqvpn.wire.frame import TransportErrorCode
from tests.sim.net import Link
from tests.sim.pair import SERVER, End, Pair
from tests.sim.test_two_ends import bind, exchange


def reasons(end: End) -> list[str]:
    return [event.reason_phrase for event in end.seen(ConnectionTerminated)]


# Handshake


def test_initial_datagrams_are_padded_to_1331_and_prove_it() -> None:
    pair = Pair(link=Link(mtu=1331))
    pair.client.keep_sent = pair.server.keep_sent = True
    pair.connect()
    for end in (pair.client, pair.server):
        assert len(end.sent[0][2]) == 1331
    assert pair.c.inner_mtu() == pair.s.inner_mtu() == 1331 - 32
    assert pair.client.seen(MtuChanged) == [MtuChanged(1299)]


def test_a_handshake_that_nobody_answers_ends() -> None:
    pair = Pair(link=Link(is_up=False))
    pair.connect(HANDSHAKE_TIMEOUT - 0.1)
    assert not pair.client.seen(ConnectionTerminated)
    pair.run(0.2)
    assert reasons(pair.client) == ["handshake timeout"]
    assert pair.c.terminated


def test_a_client_that_rebinds_during_the_handshake_is_followed() -> None:
    pair = Pair(link=Link(delay=0.05))
    moved = ("203.0.113.9", 50000)
    pair.net.links[moved[0]] = pair.net.links["10.0.1.1"]
    pair.connect(0.06)  # the server has the client's Initial
    pair.net.rebind(pair.client.addresses[0], moved)
    pair.run(2.0)
    assert pair.c.handshake_confirmed
    assert pair.s.paths[0].remote == moved


def test_a_client_ignores_other_addresses_during_the_handshake() -> None:
    pair = Pair()
    pair.c.connect_to(SERVER, 0, None, pair.net.now)
    pair.c.receive_long(b"\xc0" + bytes(1300), 0, ("203.0.113.9", 443), SERVER, pair.net.now)
    assert pair.c.close_event is None


def test_an_initial_that_does_not_decrypt_starts_nothing() -> None:
    pair = Pair()
    pair.connect(0.0)
    (arrival,) = pair.net._flying
    broken = arrival.data[:100] + bytes(len(arrival.data) - 100)
    pair.server.receive(arrival.source, SERVER, broken)
    assert not pair.s.handshake_started
    pair.s.receive_long(arrival.data, 0, arrival.source, SERVER, pair.net.now)
    assert pair.s.handshake_started


def test_the_server_sends_no_1rtt_packet_before_the_handshake_is_complete() -> None:
    pair = Pair(link=Link(delay=0.1))
    pair.server.keep_sent = True
    pair.connect(0.15)
    assert not pair.s.handshake_complete
    pair.s.send_stream_data(pair.s.get_next_available_stream_id(is_unidirectional=True), b"early")
    pair.server.settle()
    assert pair.server.sent
    assert all(data[0] & 0x80 for _, _, data in pair.server.sent)
    pair.run(1.0)
    assert b"early" in [event.data for event in pair.client.events if hasattr(event, "stream_id")]


def test_1rtt_packets_that_overtake_the_handshake_are_kept() -> None:
    pair = Pair()
    pair.connect(0.0)
    pair.run_until(pair.net.now + 0.025)  # the server has answered, the client's Finished is on its way
    pair.c.send_stream_data(0, b"request")
    pair.client.settle()
    flying = [arrival for arrival in pair.net._flying if arrival.destination == SERVER]
    pair.net._flying[:] = [arrival for arrival in pair.net._flying if arrival.destination != SERVER]
    for arrival in sorted(flying, key=lambda arrival: bool(arrival.data[0] & 0x80)):
        pair.server.receive(arrival.source, SERVER, arrival.data)
    assert b"request" in [event.data for event in pair.server.events if hasattr(event, "stream_id")]


def test_a_preferred_address_is_ignored() -> None:
    pair = Pair()
    make = pair.server.make
    assert make is not None
    preferred = bytes([192, 0, 2, 77]) + b"\x01\xbb" + bytes(18) + b"\x08" + b"prefers1" + bytes(16)

    def make_preferring(initial: bytes) -> MultipathConnection:
        quic = make(initial)
        others = quic.extra_transport_parameters
        quic.extra_transport_parameters = lambda: others() + b"\x0d\x31" + preferred  # type: ignore
        return quic

    pair.server.make = make_preferring
    pair.client.keep_sent = True
    pair.connect()
    assert pair.c.handshake_confirmed
    assert {destination for _, destination, _ in pair.client.sent} == {SERVER}
    assert len(pair.c.paths) == 1


def test_the_extension_needs_connection_ids() -> None:
    pair = Pair()
    pair.connect()
    pair.s._peer_cid.cid = b""
    with pytest.raises(QuicConnectionError) as raised:
        pair.s.handle_transport_parameters(QuicTransportParameters(), write_initial_max_path_id(8))
    assert raised.value.error_code == TransportErrorCode.PROTOCOL_VIOLATION


# Paths


def test_who_may_not_open_a_path() -> None:
    pair = Pair()
    socket, address = pair.add_link("10.0.2.1", Link()), ("10.0.2.1", 40001)
    with pytest.raises(CannotOpenPath, match="not established"):
        pair.c.open_path(socket, SERVER, address, pair.net.now)
    pair.connect()
    with pytest.raises(CannotOpenPath, match="only a client"):
        pair.s.open_path(socket, address, SERVER, pair.net.now)
    pair.c.close(0)
    with pytest.raises(CannotOpenPath, match="not established"):
        pair.c.open_path(socket, SERVER, address, pair.net.now)


def test_a_path_can_be_opened_as_soon_as_the_handshake_is_confirmed() -> None:
    pair = Pair()
    pair.c.connect_to(SERVER, 0, pair.client.addresses[0], pair.net.now)
    pair.client.settle()
    while not pair.c.handshake_confirmed or not pair.c._issuance.peer.has_any(1):
        pair.run(0.001)
    pair.open_path()
    pair.run(0.5)
    assert PathEstablished(1) in pair.client.seen(PathEstablished)


def test_the_smallest_usable_path_gives_the_inner_mtu() -> None:
    pair = Pair()
    pair.connect()
    path_id = pair.open_path("10.0.2.1", Link(mtu=1350))
    pair.run(5.0)
    assert 1350 - 16 < pair.c.inner_mtu() + 32 <= 1350
    pair.c.abandon_path(path_id, 0, pair.net.now)
    assert pair.c.inner_mtu() == 1472 - 32
    pair.client.settle()
    assert pair.client.seen(MtuChanged)[-1] == MtuChanged(1440)


def test_a_spoofed_address_is_left_again() -> None:
    pair = Pair()
    pair.connect()
    bind(pair)
    real = pair.client.addresses[0]
    spoofed = ("203.0.113.9", 50000)
    pair.net.links[spoofed[0]] = Link(is_up=False)
    pair.c.send_ping(1)
    pair.client.settle()
    for arrival in [arrival for arrival in pair.net._flying if arrival.destination == SERVER]:
        pair.server.receive(spoofed, SERVER, arrival.data)  # copied and sent on by somebody else, faster
    assert pair.s.paths[0].remote == spoofed
    pair.run(5.0)
    assert pair.s.paths[0].remote == real
    to_client, to_server = exchange(pair, 1.0)
    assert len(to_client) == len(to_server) == 100


# Keys


def test_key_updates_are_followed_by_both_ends() -> None:
    pair = Pair(link=Link(delay=0.02, jitter=0.02))
    pair.connect()
    pair.open_path()
    pair.run(1.0)
    bind(pair)
    for number in range(6):
        end = (pair.c, pair.s)[number % 2]
        end.engine_connection.update_keys()
        to_client, to_server = exchange(pair, 1.0)
        assert len(to_client) == len(to_server) == 100
    assert not pair.client.seen(ConnectionTerminated)


# The end


def test_close_is_repeated_for_packets_that_come_while_closing() -> None:
    pair = Pair()
    pair.connect()
    bind(pair)
    pair.server.keep_sent = True
    pair.s.close(0x100)
    pair.net.links["10.0.1.1"].is_up = False
    pair.server.settle()
    pair.net.links["10.0.1.1"].is_up = True
    assert len(pair.server.sent) == 1  # lost
    pair.c.send_ping(1)
    pair.client.settle()
    pair.run(0.1)
    assert [event.error_code for event in pair.client.seen(ConnectionTerminated)] == [0x100]
    assert len(pair.server.sent) == 2


def test_the_peers_close_is_not_answered() -> None:
    pair = Pair()
    pair.connect()
    pair.server.keep_sent = True
    pair.c.close(0x100)
    pair.client.settle()
    pair.run(0.05)
    assert pair.server.seen(ConnectionTerminated)
    assert not pair.s.terminated
    pair.run(5.0)
    assert pair.s.terminated
    assert not pair.server.sent


def test_a_stateless_reset_ends_the_client() -> None:
    pair = Pair()
    pair.connect()
    pair.s.engine_connection.close()  # the server forgets it, as after a crash
    pair.server.quic = None
    pair.server.make = None
    answers: list[tuple[Any, ...]] = []
    handle = pair.server._handle
    pair.server._handle = lambda event: (answers.append(event), handle(event))[1]  # type: ignore[method-assign]
    pair.c.send_stream_data(0, bytes(100))
    pair.client.settle()
    pair.run(0.1)
    kind, _, _, _, datagram = answers[0]
    assert kind == UNKNOWN
    reset = stateless_reset(b"k" * 32, datagram)
    assert reset is not None
    pair.client.receive(SERVER, pair.client.addresses[0], reset)
    assert reasons(pair.client) == ["stateless reset"]
    assert pair.c.terminated


def test_an_internal_error_closes_the_connection_and_escapes_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = Pair()
    pair.connect()

    def broken(*arguments: object) -> None:
        raise RuntimeError("a mistake of ours")

    pair.s._paths.handle_challenge = broken  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR, "mqvpn"):
        pair.s.handle_event((CONTROL, pair.s.engine_connection, 0, b"\x1a12345678", 0), pair.net.now)
    assert len(caplog.records) == 1
    assert pair.s.close_event is not None
    assert pair.s.close_event.error_code == TransportErrorCode.INTERNAL_ERROR
    pair.server.settle()
    pair.run(0.5)
    assert pair.client.seen(ConnectionTerminated)


def test_after_the_end_nothing_happens_any_more() -> None:
    pair = Pair()
    pair.connect()
    pair.c.close(0)
    pair.client.settle()
    pair.run(5.0)
    assert pair.c.terminated
    assert pair.c.flush(pair.net.now) == []
    assert pair.c.next_timeout() is None
    pair.c.handle_timeout(pair.net.now)
    assert pair.c.receive_long(b"\xc0" + bytes(1300), 0, SERVER, None, pair.net.now) == []
    pair.c.handle_event((CONTROL, pair.c.engine_connection, 0, b"\x1a12345678", 0), pair.net.now)
    assert len(pair.client.seen(ConnectionTerminated)) == 1
