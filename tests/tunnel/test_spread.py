"""Spread flows (one flow over several paths) are used only when both ends have them, and cost their bytes of MTU."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.dataplane.engine import SPREAD_BYTES
from mqvpn.tunnel import events
from tests.tunnel.pair import End, Network, is_up
from tests.wire.packets import ipv4


def inner_mtu(client: End) -> int:
    """The MTU that the client told last."""
    return [event.mtu for event in client.events if isinstance(event, (events.TunnelUp, events.MtuChanged))][-1]


@pytest.mark.parametrize("server_has", [True, False])
@pytest.mark.parametrize("client_has", [True, False])
def test_both_ends_must_have_it(tmp_path: Path, server_has: bool, client_has: bool) -> None:
    network = Network(tmp_path, spread=server_has)
    client = network.client(2, spread=client_has)
    plain = network.client(2, spread=False)
    network.start(client, plain)
    network.run_until(lambda: is_up(client) and is_up(plain))
    network.run(1.0)
    expected = SPREAD_BYTES if server_has and client_has else 0
    assert inner_mtu(plain) - inner_mtu(client) == expected


@pytest.mark.parametrize("server_has", [True, False])
def test_a_packet_of_the_whole_mtu_passes(tmp_path: Path, server_has: bool) -> None:
    network = Network(tmp_path, spread=server_has)
    client = network.client()
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.run(1.0)
    for size in (inner_mtu(client), inner_mtu(client) + 1):
        network.from_tun(client, ipv4(bytes(size - 20), source="10.0.0.2", destination="10.0.0.1"))
    network.run(0.5)
    assert [len(packet) for packet in network.server.packets] == [inner_mtu(client)]
    assert len(client.answers) == 1
