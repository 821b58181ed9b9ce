"""ClientTunnel against a real ServerTunnel in memory: coming up, being refused, losing paths."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest

from mqvpn.tunnel import client as module
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.paths import SILENCE_LIMIT, Uplink
from mqvpn.tunnel.race import ATTEMPT_TIMEOUT, SERVER_HEAD_START
from mqvpn.tunnel.server import ServerTunnel
from mqvpn.tunnel.state import TRANSITIONS, Input, State
from mqvpn.wire import certificate
from mqvpn.wire.address import AssignedAddress
from tests.tunnel import pair
from tests.tunnel.pair import SERVER, End, Network, is_up
from tests.wire.packets import ipv4, ipv6


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def tunnel(end: End) -> ClientTunnel:
    assert isinstance(end.tunnel, ClientTunnel)
    return end.tunnel


def paths(end: End) -> set[str]:
    """The interfaces whose path came up and was not closed since."""
    up: dict[int, str] = {}
    for event in end.events:
        if isinstance(event, events.PathUp):
            up[event.path_id] = event.interface
        elif isinstance(event, events.PathDown):
            up.pop(event.path_id, None)
    return set(up.values())


def test_comes_up_with_addresses_of_both_versions(network: Network) -> None:
    client = network.client()
    network.start(client)
    assert network.run_until(lambda: is_up(client), 1)
    [up] = client.of(events.TunnelUp)
    assert up.addresses == (ip_network("10.0.0.2/32"), ip_network("fd00::2/128"))
    assert up.interface == "eth0"
    assert up.mtu >= 1280
    [routes] = client.of(events.RoutesAdvertised)
    assert [str(item.end) for item in routes.ranges] == ["255.255.255.255", str(ip_network("::/0")[-1])]
    assert tunnel(client).state is State.UP


def test_packets_pass_both_ways(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    ping, pong = (
        ipv4(source="10.0.0.2", destination="10.0.0.1"),
        ipv6(destination="fd00::2", source="fd00::1"),
    )
    network.from_tun(client, ping)
    network.from_tun(network.server, pong)
    network.run(0.5)
    assert [packet[12:20] for packet in network.server.packets] == [ping[12:20]]
    assert [packet[8:40] for packet in client.packets] == [pong[8:40]]


def test_a_packet_that_is_too_big_is_answered(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.from_tun(client, ipv4(bytes(1480), source="10.0.0.2", destination="10.0.0.1"))
    network.run(0.1)
    assert network.server.packets == []
    assert len(client.answers) == 1


def test_a_packet_from_an_address_that_is_not_ours_is_answered(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.from_tun(client, ipv4(source="10.0.0.99", destination="192.0.2.9"))
    network.run(0.1)
    assert network.server.packets == []
    assert [answer[20:22] for answer in client.answers] == [bytes([3, 13])]


def test_without_a_tunnel_packets_are_dropped_in_silence(network: Network) -> None:
    client = network.client()
    network.from_tun(client, ipv4(source="10.0.0.2", destination="192.0.2.9"))
    assert client.answers == []


def test_every_interface_gets_a_path(network: Network) -> None:
    client = network.client(links=3)
    network.start(client)
    assert network.run_until(lambda: paths(client) == {"eth0", "eth1", "eth2"}, 3)


def test_a_dead_first_interface_costs_a_quarter_of_a_second(network: Network) -> None:
    client = network.client(links=2)
    network.dead.add(client.address)
    network.start(client)
    assert network.run_until(lambda: is_up(client), 1)
    assert client.of(events.TunnelUp)[0].interface == "eth1"
    assert paths(client) == {"eth1"}
    network.dead.clear()
    assert network.run_until(lambda: paths(client) == {"eth0", "eth1"}, 10)


def test_losers_of_the_race_are_closed(network: Network) -> None:
    client = network.client(links=2)
    network.dead.add(client.address)
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.dead.clear()
    network.run(15)
    assert len(client.tunnel._connections) == 1
    assert len(network.server.tunnel._connections) == 1


def test_nobody_answers(network: Network) -> None:
    client = network.client()
    network.dead.add(client.address)
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 15)
    assert client.of(events.Closed) == [events.Closed("no answer from 192.0.2.1:4433")]


def test_no_interface_at_all(network: Network) -> None:
    client = network.client(links=0)
    network.start(client)
    assert client.of(events.Closed) == [events.Closed("no interface can be used")]


def test_a_wrong_key_is_refused(network: Network) -> None:
    client = network.client(key=b"a guess")
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 2)
    [closed] = client.of(events.Closed)
    assert closed.cause is events.Cause.REFUSED
    assert network.server.of(events.ClientRefused)[0].status == 403
    assert network.server.of(events.ClientJoined) == []


def test_a_certificate_nobody_vouches_for(network: Network) -> None:
    client = network.client(trusts=False)
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 2)
    [closed] = client.of(events.Closed)
    assert closed.cause is events.Cause.UNTRUSTED
    pin = certificate.pin(certificate.read_pem(Path(network.cert_file).read_bytes()))
    said = "the server's certificate is not trusted: self-signed certificate; the server presented the key"
    assert closed.reason.replace("self signed", "self-signed").startswith(f"{said} {pin} in a certificate for vpn.exam")


def test_a_pin_is_enough(network: Network) -> None:
    pin = certificate.pin(certificate.read_pem(Path(network.cert_file).read_bytes()))
    right, wrong = network.client(trusts=False, pins=(pin,)), network.client(pins=("sha256//no",))
    network.start(right, wrong)
    assert network.run_until(lambda: is_up(right) and bool(wrong.of(events.Closed)), 2)
    [closed] = wrong.of(events.Closed)
    assert closed.cause is events.Cause.UNTRUSTED
    assert f"its key is not the pinned one; the server presented the key {pin}" in closed.reason


def test_a_full_server_is_no_reason_to_give_up(tmp_path: Path) -> None:
    network = Network(tmp_path, network=IPv4Network("10.0.0.0/30"), network6=None)
    first, second = network.client(), network.client()
    network.start(first, second)
    assert network.run_until(lambda: bool(first.of(events.Closed) or second.of(events.Closed)), 2)
    [closed] = first.of(events.Closed) + second.of(events.Closed)
    assert closed.cause is events.Cause.LOST
    assert "503" in closed.reason


def test_an_interface_that_goes_is_abandoned_and_comes_back(network: Network) -> None:
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: paths(client) == {"eth0", "eth1"})
    tunnel(client).handle_link("eth0", (), network.now)
    network.settle(client)
    network.run(0.2)
    assert paths(client) == {"eth1"}
    network.from_tun(client, ipv4(source="10.0.0.2", destination="10.0.0.1"))
    network.run(0.2)
    assert network.server.packets
    tunnel(client).handle_link("eth0", (Uplink("eth0", 0, SERVER),), network.now)
    network.settle(client)
    assert network.run_until(lambda: paths(client) == {"eth0", "eth1"}, 1)


def test_the_last_path_is_kept_when_its_interface_goes(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    tunnel(client).handle_link("eth0", (), network.now)
    network.settle(client)
    network.run(1)
    assert paths(client) == {"eth0"}
    assert tunnel(client).state is State.UP


def test_closing_tells_the_server(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    tunnel(client).close(network.now)
    network.settle(client)
    network.run(0.1)
    assert [type(event) for event in network.server.events] == [events.ClientJoined, events.ClientLeft]
    assert network.pool.in_use == 0


def test_the_server_stops(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.server.tunnel.close(network.now)  # type: ignore[attr-defined]
    network.settle(network.server)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 1)
    assert client.of(events.Closed)[0].cause is events.Cause.LOST


def test_an_idle_tunnel_stays(network: Network) -> None:
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.run(600)
    assert tunnel(client).state is State.UP
    assert paths(client) == {"eth0", "eth1"}


def test_without_an_address_it_asks_and_then_gives_up(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers 200 and assigns nothing unprompted."""
    asked: list[bytes] = []
    monkeypatch.setattr(module.ClientTunnel, "_addresses", lambda *_: None)
    client = network.client()
    network.start(client)
    original = tunnel(client)._session.request_addresses
    monkeypatch.setattr(
        tunnel(client)._session, "request_addresses", lambda wanted: asked.append(b"") or original(wanted)
    )
    assert network.run_until(lambda: bool(client.of(events.Closed)), 15)
    assert client.of(events.Closed)[0].reason == "no answer to the tunnel request"
    assert len(asked) == 1


@pytest.mark.parametrize("deaf", ["_quic_event", "_request"])
@pytest.mark.parametrize(("hurried", "delay", "patience"), [(False, 0.01, 10), (True, 0.01, 3), (True, 0.4, 4.8)])
def test_a_server_that_says_nothing_is_not_waited_for_while_there_is_another(
    network: Network, monkeypatch: pytest.MonkeyPatch, deaf: str, hurried: bool, delay: float, patience: float
) -> None:
    """After the handshake no SETTINGS come, or no answer to the request. A slow link has more time: six times that of
    the handshake, which is 0.8 s."""
    monkeypatch.setattr(ServerTunnel, deaf, lambda *_: None)
    monkeypatch.setattr(pair, "DELAY", delay)
    client = network.client(hurried=hurried)
    network.start(client)
    assert network.run_until(lambda: tunnel(client).state is State.REQUESTING, 5)
    began = network.now
    assert network.run_until(lambda: bool(client.of(events.Closed)), 15)
    assert not hurried or client.of(events.Closed)[0].reason == "no answer to the tunnel request"
    assert patience - 0.1 < network.now - began < patience + 0.5


def test_one_that_has_answered_has_time_to_assign_addresses(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerTunnel, "_lease", lambda *_: None)
    client, began = network.client(hurried=True), network.now
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 15)
    assert network.now - began > 10


def test_transitions() -> None:
    """Every state ends, nothing leaves CLOSED, and nothing else is legal."""
    for state in State:
        after = {TRANSITIONS.get((state, cause)) for cause in Input}
        assert (State.CLOSED in after) == (state is not State.CLOSED)
    assert len(TRANSITIONS) == 5


def test_a_server_that_is_gone_is_given_up(network: Network) -> None:
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: paths(client) == {"eth0", "eth1"})
    network.dead.add(network.server.address)
    network.from_tun(client, ipv4(source="10.0.0.2", destination="10.0.0.1"))
    network.run_until(lambda: bool(client.of(events.Closed)), 60)
    assert client.of(events.Closed) == [events.Closed("no answer on any path")]


def test_an_outage_that_ends_is_outlived(network: Network) -> None:
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: paths(client) == {"eth0", "eth1"})
    network.dead.add(network.server.address)
    network.from_tun(client, ipv4(source="10.0.0.2", destination="10.0.0.1"))
    network.run(SILENCE_LIMIT - 3)
    network.dead.clear()
    network.run(60)
    assert client.of(events.Closed) == []
    assert len(client.of(events.PathSilent)) == len(client.of(events.PathAnswers)) > 0


def test_addresses_can_change_but_not_go(network: Network) -> None:
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    server = network.server.tunnel
    assert isinstance(server, ServerTunnel)
    [peer] = server.clients
    assert peer.http is not None
    changed = (AssignedAddress(0, ip_network("10.0.0.9/32")),)
    for addresses in (changed, ()):
        peer.http.data(0, peer.session.assign(addresses))
        server.touch(peer.connection)
        network.settle(network.server)
        network.run(0.1)
    both = (ip_network("10.0.0.9/32"), ip_network("fd00::2/128"))  # a list of one version leaves the other
    assert client.of(events.AddressesChanged) == [events.AddressesChanged(both)]
    assert client.of(events.Closed) == [events.Closed("the server withdrew our addresses")]


DEAD = ("192.0.2.99", 4433)


def test_a_dead_server_costs_its_head_start_and_no_path_leads_there(network: Network) -> None:
    client, began = network.client(2, servers=(DEAD, SERVER)), network.now
    network.start(client)
    assert network.run_until(lambda: is_up(client), 5)
    assert network.now - began < SERVER_HEAD_START + 0.2
    assert tunnel(client).chosen == 1
    network.run(5)
    assert paths(client) == {"eth0", "eth1"}
    connection = tunnel(client).connection
    assert connection is not None
    assert {path.remote for path in connection.paths.values()} == {SERVER}
    assert client.of(events.PathDown) == []
    assert tunnel(client)._connections.keys() == {connection}  # the others are no more
    assert tunnel(client).failures == {}  # and it is not their failure that we closed them


def test_the_preferred_server_wins_and_no_other_is_asked(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    client = network.client(servers=(SERVER, DEAD))
    network.start(client)
    assert network.run_until(lambda: is_up(client), 1)
    network.run(5)
    assert tunnel(client).chosen == 0
    assert "is asked, too" not in caplog.text


def test_when_no_server_answers_each_failure_is_told(network: Network) -> None:
    client, began = network.client(servers=(DEAD, ("192.0.2.98", 4433))), network.now
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 30)
    assert network.now - began == pytest.approx(ATTEMPT_TIMEOUT + SERVER_HEAD_START)
    assert tunnel(client).chosen is None
    reasons = {place: failure.reason for place, failure in tunnel(client).failures.items()}
    assert reasons == {0: "no answer from 192.0.2.99:4433", 1: "no answer from 192.0.2.98:4433"}
