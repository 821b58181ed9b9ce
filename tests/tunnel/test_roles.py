"""A backup path is one for both ends, and can become a primary one while it is in use."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.paths import Role
from mqvpn.tunnel.server import ServerTunnel
from tests.tunnel.pair import End, Network, is_up
from tests.wire.packets import ipv4

CLIENT, SERVER = "10.0.0.2", "10.0.0.1"


def started(directory: Path, role: Role, **changes: object) -> tuple[Network, End]:
    """A client whose eth1 has that role, both paths up."""
    network = Network(directory, **changes)
    client = network.client(2, roles={"eth1": role}, **changes)
    network.start(client)
    network.run_until(lambda: is_up(client) and len(client.of(events.PathUp)) == 2)
    network.run(1.0)
    return network, client


def shares(network: Network, client: End) -> list[tuple[int, int]]:
    """Packets that each path carried, up and down, while both ends sent 100 of several flows."""
    assert isinstance(client.tunnel, ClientTunnel)
    assert isinstance(network.server.tunnel, ServerTunnel)
    assert client.tunnel.connection is not None
    connections = (client.tunnel.connection, network.server.tunnel.clients[0].connection)
    before = [[end.engine_connection.path(n).tx_packets for end in connections] for n in (0, 1)]
    for number in range(100):
        for end, source, destination in ((client, CLIENT, SERVER), (network.server, SERVER, CLIENT)):
            ports = bytes([4, number % 8, 5, 6])
            network.from_tun(end, ipv4(ports + bytes(200), source=source, destination=destination))
        network.run(0.01)
    after = [[end.engine_connection.path(n).tx_packets for end in connections] for n in (0, 1)]
    up, down = ([b - a for a, b in zip(was, now, strict=True)] for was, now in zip(before, after, strict=True))
    return [(up[0], up[1]), (down[0], down[1])]


def test_a_backup_carries_nothing_either_way_until_it_is_a_primary_path(tmp_path: Path) -> None:
    network, client = started(tmp_path, Role(backup=True))
    assert isinstance(client.tunnel, ClientTunnel)
    first, second = shares(network, client)
    assert min(first) >= 100 > 10 > max(second)
    client.tunnel.set_role("eth1", Role(), network.now)
    network.settle(client)
    network.run(0.5)
    first, second = shares(network, client)
    assert min(*first, *second) > 20


def test_a_backup_takes_over(tmp_path: Path) -> None:
    network, client = started(tmp_path, Role(backup=True))
    assert isinstance(client.tunnel, ClientTunnel)
    client.tunnel.handle_link("eth0", (), network.now)
    network.settle(client)
    network.run(0.5)
    before = len(client.packets), len(network.server.packets)
    for number in range(20):
        network.from_tun(client, ipv4(bytes(4) + bytes([number]) * 100, source=CLIENT, destination=SERVER))
        network.from_tun(network.server, ipv4(bytes(104), source=SERVER, destination=CLIENT))
        network.run(0.01)
    network.run(0.5)
    assert (len(client.packets) - before[0], len(network.server.packets) - before[1]) == (20, 20)


@pytest.mark.parametrize("spread", [True, False])
def test_redundant_without_spread_flows_is_told_once(
    tmp_path: Path, spread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    network, client = started(tmp_path, Role(), scheduler="redundant", spread=spread)
    second = network.client(1, scheduler="redundant", spread=spread)
    network.start(second)
    network.run_until(lambda: is_up(second))
    told = [record.name for record in caplog.records if "redundant" in record.message]
    assert told == ([] if spread else ["mqvpn.tunnel.server"])
    assert isinstance(client.tunnel, ClientTunnel)
    assert client.tunnel.spread == spread  # the client's daemon goes by that
    first, other = shares(network, client)
    if spread:
        assert min(*first, *other) >= 100
    else:  # minrtt: each packet once, on whichever of the two equal paths
        assert all(100 <= sum(both) < 200 for both in zip(first, other, strict=True))
