"""Sessions that survive: whose address is whose over reconnects, restarts, and several clients of one user."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mqvpn.connectip.extension import INSTANCE, LAST_ADDRESS, REPLACED
from mqvpn.connectip.pool import Owner, Pool
from mqvpn.dataplane.engine import Engine
from mqvpn.tunnel import events
from mqvpn.tunnel import server as module
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.server import SETUP_TIMEOUT, ServerTunnel
from mqvpn.wire.address import Network as Prefix
from tests.tunnel.pair import End, Network, is_up
from tests.wire.packets import ipv4

ONE, TWO = "instance-one-of-the-user", "instance-two-of-the-user"
USERS = {b"a": "alice", b"b": "bob", b"shared": ""}


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path, authorize=USERS.get)


def connect(network: Network, **options: Any) -> End:
    """Add a client and wait until it is up."""
    client = network.client(**{"key": b"a", "instance": ONE} | options)
    network.start(client)
    assert network.run_until(lambda: is_up(client), 2)
    return client


def address(client: End) -> str:
    [up] = client.of(events.TunnelUp)
    return str(up.addresses[0].network_address)


def leave(network: Network, client: End) -> None:
    assert isinstance(client.tunnel, ClientTunnel)
    client.tunnel.close(network.now)
    network.settle(client)
    network.run(0.5)


def last(*addresses: str) -> tuple[Prefix, ...]:
    return tuple(map(ip_network, addresses))


@pytest.mark.parametrize("key", [b"a", b"shared"], ids=["of a user", "of the shared key"])
def test_a_newer_session_of_an_instance_replaces_the_older(tmp_path: Path, key: bytes) -> None:
    network = Network(tmp_path, authorize=USERS.get, max_clients=1)
    older = connect(network, key=key)
    newer = connect(network, key=key)
    assert address(newer) == address(older)
    assert network.run_until(lambda: bool(older.of(events.Closed)), 1)
    assert older.of(events.Closed)[0].cause is events.Cause.REPLACED
    [left] = network.server.of(events.ClientLeft)
    assert "newer session" in left.reason
    network.run(5)
    assert network.pool.in_use == 1
    assert not newer.of(events.Closed)


def test_no_packet_is_lost_when_an_address_moves(network: Network) -> None:
    older = connect(network)
    newer = network.client(key=b"a", instance=ONE)
    network.start(newer)
    sent = 0
    while not is_up(newer):
        network.from_tun(network.server, ipv4(source="192.0.2.99", destination=address(older)))
        sent += 1
        network.run(0.001)
    network.run(0.2)
    assert len(network.server.of(events.ClientLeft)) == 1
    assert 0 < len(older.packets) < sent
    assert len(older.packets) + len(newer.packets) == sent
    network.from_tun(newer, ipv4(source=address(newer), destination="192.0.2.99"))
    network.run(0.2)
    assert len(network.server.packets) == 1


@pytest.mark.parametrize(
    ("key", "instance"), [(b"a", TWO), (b"b", ONE), (b"a", "")], ids=["instance", "user", "none named"]
)
def test_others_coexist(network: Network, key: bytes, instance: str) -> None:
    first = connect(network)
    second = connect(network, key=key, instance=instance)
    network.run(1)
    assert address(first) != address(second)
    assert not first.of(events.Closed) + second.of(events.Closed)


def test_clients_that_name_no_instance_do_not_replace_each_other(network: Network) -> None:
    first, second = connect(network, instance=""), connect(network, instance="")
    network.run(1)
    assert address(first) != address(second)
    assert not first.of(events.Closed)


def test_each_instance_has_its_address_again(network: Network) -> None:
    one, two = connect(network), connect(network, instance=TWO)
    leave(network, one)
    leave(network, two)
    assert address(connect(network)) == address(one)
    assert address(connect(network, instance=TWO)) == address(two)


def test_a_client_asks_for_its_last_address(network: Network) -> None:
    client = connect(network, key=b"shared", last_addresses=last("10.0.0.77/32", "fd00::77/128"))
    [up] = client.of(events.TunnelUp)
    assert up.addresses == last("10.0.0.77/32", "fd00::4d/128")
    assert client.of(events.AddressesChanged) == []
    assert network.server.of(events.ClientJoined)[0].addresses == up.addresses
    network.from_tun(network.server, ipv4(source="192.0.2.99", destination="10.0.0.77"))
    network.run(0.2)
    assert len(client.packets) == 1


def test_a_wish_that_cannot_be_granted(network: Network) -> None:
    alice, taken = connect(network), connect(network, key=b"b")
    leave(network, alice)
    for wish in (address(alice), address(taken), "10.0.0.1", "192.0.2.1"):
        client = connect(network, key=b"shared", instance="", last_addresses=last(f"{wish}/32"))
        assert address(client) not in (wish, address(alice))


def test_a_server_that_knows_better_does_not_ask(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(network, client := connect(network))
    again = network.client(key=b"a", instance=ONE, last_addresses=last("10.0.0.99/32"))
    monkeypatch.setattr(again.tunnel._session, "request_addresses", never)  # type: ignore[attr-defined]
    network.start(again)
    assert network.run_until(lambda: is_up(again), 2)
    assert address(again) == address(client)


def test_other_servers_get_no_address_request(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_ADDRESS", (b"unknown", b"to this server"))
    client = network.client(key=b"a", last_addresses=last("10.0.0.99/32"))
    monkeypatch.setattr(client.tunnel._session, "request_addresses", never)  # type: ignore[attr-defined]
    network.start(client)
    assert network.run_until(lambda: is_up(client), 2)
    network.run(3)


def never(*_: object) -> bytes:
    raise AssertionError("an ADDRESS_REQUEST was sent")


def test_who_does_not_ask_as_promised_is_closed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    client = network.client(key=b"shared", last_addresses=last("10.0.0.99/32"))
    monkeypatch.setattr(client.tunnel._session, "request_addresses", lambda *_: b"")  # type: ignore[attr-defined]
    monkeypatch.setattr("mqvpn.tunnel.client.REQUEST_TIMEOUT", 60.0)
    network.start(client)
    tunnel = server(network)
    assert network.run_until(lambda: tunnel.active == 1, 2)
    assert (tunnel.half_open, network.pool.in_use, tunnel.clients) == (1, 0, [])
    network.run(SETUP_TIMEOUT + 3)
    assert (tunnel.half_open, tunnel.active) == (0, 0)
    assert network.server.of(events.ClientJoined) + network.server.of(events.ClientLeft) == []


def test_who_asks_holds_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(tmp_path, network=ip_network("10.0.0.0/30"), network6=None)
    first = network.client(instance=ONE, last_addresses=last("10.0.0.2/32"))
    monkeypatch.setattr(first.tunnel._session, "request_addresses", lambda *_: b"")  # type: ignore[attr-defined]
    network.start(first)
    assert network.run_until(lambda: server(network).active == 1, 2)
    second = network.client(instance=TWO)
    network.start(second)
    assert network.run_until(lambda: bool(second.of(events.Closed)), 2)
    [refused] = network.server.of(events.ClientRefused)
    assert (refused.status, refused.reason) == (503, "no address is free")


def test_two_of_an_instance_that_ask_at_the_same_time(network: Network) -> None:
    both = [network.client(key=b"a", instance=ONE, last_addresses=last("10.0.0.99/32")) for _ in range(2)]
    network.start(*both)
    assert network.run_until(lambda: all(map(is_up, both)), 2)
    network.run(1)
    assert {address(client) for client in both} == {"10.0.0.99"}
    assert sum(bool(client.of(events.Closed)) for client in both) == 1
    assert network.pool.in_use == 1


@pytest.mark.parametrize("instance", ["short", "x" * 65, "with blanks and such", "a" * 20 + "\N{SNOWMAN}"])
def test_instances_are_checked(network: Network, instance: str) -> None:
    client = network.client(key=b"a", instance=instance)
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 2)
    [refused] = network.server.of(events.ClientRefused)
    assert refused.status == 400
    assert INSTANCE.decode() in refused.reason


def test_a_restarted_server_gives_the_same_address(network: Network) -> None:
    first, client, gone = connect(network, key=b"b"), connect(network), connect(network, instance=TWO)
    leave(network, gone)
    restart(network)
    network.from_tun(client, ipv4(source=address(client), destination="192.0.2.99"))
    assert network.run_until(lambda: bool(client.of(events.Closed)), 1)
    assert client.of(events.Closed)[0].cause is events.Cause.FORGOTTEN
    assert [address(connect(network, key=b"shared", instance="")) for _ in range(2)] == ["10.0.0.5", "10.0.0.6"]
    assert address(connect(network)) == address(client)
    assert address(connect(network, key=b"b")) == address(first)
    assert address(connect(network, instance=TWO)) == address(gone)


def restart(network: Network) -> None:
    """A new server at the same place, with nothing but the keys, the certificate and the leases of the old one."""
    former = server(network)
    network.pool, old = Pool(network.pool.network, network.pool.network6), network.pool
    network.pool.remember(old.leases())
    engine = Engine(is_server=True)
    network.server.engine = engine
    network.server.tunnel = ServerTunnel(engine, former._options, network.pool, former._configuration)


def server(network: Network) -> ServerTunnel:
    assert isinstance(network.server.tunnel, ServerTunnel)
    return network.server.tunnel


def test_numbers_and_names_are_nobody_elses() -> None:
    """RFC 9114, section 8.1: codes of the form 0x1f * N + 0x21 are reserved to exercise unknown ones."""
    assert (REPLACED - 0x21) % 0x1F
    assert LAST_ADDRESS[0].islower()
    assert Owner("", ONE) != Owner("alice", ONE)


@pytest.fixture(autouse=True)
def quiet_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may end a connection by an exception."""
    yield
    assert "internal error" not in caplog.text
