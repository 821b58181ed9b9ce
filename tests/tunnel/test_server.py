"""ServerTunnel: who gets in, what is left of those who do not, and what one client can do to the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mqvpn.dataplane.engine import OVERHEAD, SPREAD_BYTES
from mqvpn.tunnel import events, http3
from mqvpn.tunnel.invariants import VERSION_1, LongHeader
from mqvpn.tunnel.server import MAX_HALF_OPEN, SETUP_TIMEOUT, ServerTunnel
from mqvpn.wire.http3 import H3ErrorCode
from tests.tunnel.pair import End, Network, is_up
from tests.wire.packets import ipv4

STRANGER = ("203.0.113.9", 1234)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def server(network: Network) -> ServerTunnel:
    assert isinstance(network.server.tunnel, ServerTunnel)
    return network.server.tunnel


def initial(size: int = 1200, version: int = VERSION_1) -> bytes:
    """A datagram that looks like a client's first and holds noise."""
    header = bytes([0xC3]) + version.to_bytes(4) + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\0"
    length = size - len(header) - 2
    return header + (0x4000 | length).to_bytes(2) + os.urandom(length)


def test_an_initial_that_does_not_decrypt_leaves_nothing(network: Network) -> None:
    for _ in range(300):
        network.inject(network.server, initial(), STRANGER)
    tunnel = server(network)
    assert tunnel.half_open == 0
    state = (tunnel._connections, tunnel._clients, tunnel._by_cid, tunnel._deadlines, tunnel._touched)
    assert [len(part) for part in state] == [0] * 5
    assert tunnel.next_timeout() is None


@pytest.mark.parametrize(
    "datagram",
    [initial(1199), b"\xc3", b"\xc3" + VERSION_1.to_bytes(4) + b"\xff" * 1300, initial(1200, version=0)],
    ids=["too small", "one byte", "connection ID too long", "Version Negotiation"],
)
def test_what_is_not_answered(network: Network, datagram: bytes) -> None:
    tunnel = server(network)
    network._receive(network.server, 0, STRANGER, network.server.address, datagram)
    tunnel.handle_events(network.now)
    assert tunnel.datagrams() == []
    assert tunnel._connections == {}


def test_version_negotiation(network: Network) -> None:
    tunnel = server(network)
    network._receive(network.server, 0, STRANGER, network.server.address, initial(version=0x1A2A3A4A))
    tunnel.handle_events(network.now)
    [(socket, remote, _, data)] = tunnel.datagrams()
    header = LongHeader.read(data)
    assert header is not None
    assert (socket, remote, header.version) == (0, STRANGER, 0)
    assert len(data) < 1200


def test_a_stateless_reset_for_unknown_connections(network: Network) -> None:
    tunnel = server(network)
    network._receive(network.server, 0, STRANGER, network.server.address, b"\x40" + os.urandom(60))
    tunnel.handle_events(network.now)
    [(_, remote, _, data)] = tunnel.datagrams()
    assert remote == STRANGER
    assert 21 <= len(data) < 61


def test_max_clients(tmp_path: Path) -> None:
    network = Network(tmp_path, max_clients=1)
    first, second = network.client(), network.client()
    network.start(first)
    network.run_until(lambda: is_up(first))
    network.start(second)
    network.run_until(lambda: bool(second.of(events.Closed)), 2)
    assert "503" in second.of(events.Closed)[0].reason
    assert network.server.of(events.ClientRefused)[0].status == 503
    assert is_up(first)
    assert not first.of(events.Closed)


def test_users_have_names_and_keep_their_address(tmp_path: Path) -> None:
    network = Network(tmp_path, authorize={b"a": "alice", b"b": "bob"}.get)
    alice, bob = network.client(key=b"a"), network.client(key=b"b")
    network.start(alice, bob)
    network.run_until(lambda: is_up(alice) and is_up(bob))
    assert {event.user for event in network.server.of(events.ClientJoined)} == {"alice", "bob"}
    alice.tunnel.close(network.now)  # type: ignore[attr-defined]
    network.settle(alice)
    network.run(1)
    again = network.client(key=b"a")
    network.start(again)
    network.run_until(lambda: is_up(again))
    assert again.of(events.TunnelUp)[0].addresses == alice.of(events.TunnelUp)[0].addresses


def test_a_source_that_is_not_the_clients_own(network: Network) -> None:
    first, second = network.client(), network.client()
    network.start(first, second)
    network.run_until(lambda: is_up(first) and is_up(second))
    addresses = {str(end.of(events.TunnelUp)[0].addresses[0][0]): end for end in (first, second)}
    for address in addresses:
        for end in (first, second):
            network.from_tun(end, ipv4(source=address, destination="192.0.2.99"))
    network.run(0.2)
    assert len(network.server.packets) == 2


def test_packets_reach_the_client_they_are_for(network: Network) -> None:
    clients = [network.client() for _ in range(3)]
    network.start(*clients)
    network.run_until(lambda: all(map(is_up, clients)))
    for client in clients:
        address = str(client.of(events.TunnelUp)[0].addresses[0][0])
        network.from_tun(network.server, ipv4(source="192.0.2.99", destination=address))
    network.run(0.2)
    assert [len(client.packets) for client in clients] == [1, 1, 1]


def test_a_packet_for_nobody_is_answered(network: Network) -> None:
    network.from_tun(network.server, ipv4(source="192.0.2.9", destination="10.0.0.200"))
    assert len(network.server.answers) == 1


def test_a_client_that_sends_from_anothers_address_is_told(network: Network) -> None:
    bad, other = network.client(), network.client()
    network.start(bad, other)
    network.run_until(lambda: is_up(bad) and is_up(other))
    bad.tunnel.connection.engine_connection.allow([], [])  # type: ignore[attr-defined]
    stolen = str(other.of(events.TunnelUp)[0].addresses[0][0])
    network.from_tun(bad, ipv4(source=stolen, destination="192.0.2.9"))
    network.run(0.2)
    assert (network.server.packets, other.packets) == ([], [])
    assert [packet[20:22] for packet in bad.packets] == [bytes([3, 13])]


def winner(end: End) -> http3.Http3:
    """The HTTP/3 of a client that is up."""
    http = end.tunnel._http3  # type: ignore[attr-defined]
    assert isinstance(http, http3.Http3)
    return http


def answer_to(network: Network, client: End, changes: dict[bytes, bytes | None]) -> bytes:
    """The status that a further request with changed fields gets on the client's connection."""
    fields = {
        b":method": b"CONNECT",
        b":protocol": b"connect-ip",
        b":scheme": b"https",
        b":authority": b"vpn.example",
        b":path": b"/.well-known/masque/ip/*/*/",
        b"authorization": b"Bearer the shared key",
        b"capsule-protocol": b"?1",
    } | changes
    http = winner(client)
    stream_id = http.request([(name, value) for name, value in fields.items() if value is not None])
    statuses: list[bytes] = []
    http.handle_event = _listen(http.handle_event, stream_id, statuses)  # type: ignore[method-assign]
    client.tunnel.touch(client.tunnel.connection)  # type: ignore[attr-defined]
    network.settle(client)
    network.run(0.1)
    return statuses[0]


def _listen(handle: object, stream_id: int, statuses: list[bytes]) -> object:
    def listening(event: object) -> list[http3.Event]:
        found: list[http3.Event] = handle(event)  # type: ignore[operator]
        for one in found:
            if isinstance(one, http3.HeadersReceived) and one.stream_id == stream_id:
                statuses.append(dict(one.headers)[b":status"])
        return found

    return listening


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({b"authorization": b"Bearer a guess"}, b"403"),
        ({b"authorization": None}, b"403"),
        ({b":protocol": b"websocket"}, b"501"),
        ({b":path": b"/.well-known/masque/ip/10.0.0.1%2F8/*/"}, b"400"),
        ({}, b"409"),
    ],
    ids=["wrong key", "no key", "another protocol", "malformed", "a second tunnel"],
)
def test_further_requests_are_answered(network: Network, changes: dict[bytes, bytes | None], status: bytes) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    assert answer_to(network, client, changes) == status
    assert network.server.of(events.ClientLeft) == []


def test_guessing_on_one_connection_ends_it(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    for _ in range(3):
        assert answer_to(network, client, {b"authorization": None}) == b"403"
    winner(client).request([(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/")])
    client.tunnel.touch(client.tunnel.connection)  # type: ignore[attr-defined]
    network.settle(client)
    assert network.run_until(lambda: bool(network.server.of(events.ClientLeft)), 1)


def test_capsules_that_break_the_rules_end_the_session_alone(network: Network) -> None:
    bad, good = network.client(), network.client()
    network.start(bad, good)
    network.run_until(lambda: is_up(bad) and is_up(good))
    winner(bad).data(0, b"\x02\x00")  # an ADDRESS_REQUEST without a Requested Address
    bad.tunnel.touch(bad.tunnel.connection)  # type: ignore[attr-defined]
    network.settle(bad)
    network.run_until(lambda: bool(network.server.of(events.ClientLeft)), 1)
    network.run(0.1)
    assert H3ErrorCode.H3_MESSAGE_ERROR.name in network.server.of(events.ClientLeft)[0].reason
    assert bad.of(events.Closed)
    network.from_tun(good, ipv4(source=str(good.of(events.TunnelUp)[0].addresses[0][0])))
    network.run(0.1)
    assert len(network.server.packets) == 1


def test_a_connection_that_requests_nothing_is_closed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    client = network.client()
    monkeypatch.setattr(client.tunnel, "_request", lambda *_: None)
    network.start(client)
    network.run_until(lambda: server(network).half_open == 1)
    network.run(SETUP_TIMEOUT + 3)
    assert server(network).half_open == 0
    assert server(network)._connections == {}


def test_half_open_connections_are_limited(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqvpn.tunnel.server.MAX_HALF_OPEN", 2)
    assert MAX_HALF_OPEN > 64
    clients = [network.client() for _ in range(3)]
    for client in clients:
        monkeypatch.setattr(client.tunnel, "_request", lambda *_: None)
    network.start(*clients)
    network.run(2)
    assert server(network).half_open == 2


def test_an_exception_ends_its_connection_only(network: Network) -> None:
    bad, good = network.client(), network.client()
    network.start(bad, good)
    network.run_until(lambda: is_up(bad) and is_up(good))
    tunnel = server(network)
    victim = next(iter(tunnel._connections))

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    tunnel.guard(victim, fail, network.now)
    tunnel.handle_events(network.now)
    network.settle(network.server)
    network.run(0.5)
    assert tunnel.internal_errors == 1
    assert len(network.server.of(events.ClientLeft)) == 1
    assert len(tunnel.clients) == 1


def test_each_session_has_its_own_limit_and_inner_senders_hear_of_it(tmp_path: Path) -> None:
    sizes: dict[str, int] = {}
    network = Network(tmp_path, towards=lambda remote, local: sizes.get(remote[0], 1472))
    narrow, wide = network.client(), network.client()
    sizes[narrow.address[0]] = 1372
    network.start(narrow, wide)
    assert network.run_until(lambda: is_up(narrow) and is_up(wide))
    network.run(3.0)  # the search for the MTU
    for client in (narrow, wide):
        address = str(client.of(events.TunnelUp)[0].addresses[0][0])
        network.from_tun(network.server, ipv4(bytes(1380), source="192.0.2.99", destination=address))
    network.run(0.2)
    assert [len(client.packets) for client in (narrow, wide)] == [0, 1]
    [answer] = network.server.answers
    assert answer[20:22] == bytes([3, 4])  # destination unreachable, fragmentation needed
    assert int.from_bytes(answer[26:28]) == 1372 - OVERHEAD - SPREAD_BYTES


def test_stateless_resets_are_few_whatever_comes(network: Network) -> None:
    tunnel = server(network)
    resets = 0
    for number in range(1000):
        data = b"\x40" + number.to_bytes(8) + bytes(100)
        network._receive(network.server, 0, STRANGER, network.server.address, data)
        tunnel.handle_events(network.now)
        resets += len(tunnel.datagrams())
    assert 0 < resets <= 100
    network.now += 1.0
    network._receive(network.server, 0, STRANGER, network.server.address, b"\x40" + bytes(108))
    tunnel.handle_events(network.now)
    assert len(tunnel.datagrams()) == 1
