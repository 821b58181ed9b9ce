"""The figures of a running tunnel, and that they are plain values."""

from __future__ import annotations

import json
from pathlib import Path

from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.counters import client_figures, drop_figures, server_figures
from mqvpn.tunnel.server import ServerTunnel
from tests.tunnel.pair import Network, is_up
from tests.wire.packets import ipv4


def test_both_ends_in_figures(tmp_path: Path) -> None:
    network = Network(tmp_path, authorize=lambda key: "alice")
    client = network.client(links=2)
    assert isinstance(client.tunnel, ClientTunnel)
    assert client_figures(client.tunnel) == {"state": "connecting", "address": [], "paths": []}
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.run(1)
    figures = client_figures(client.tunnel)
    assert figures["state"] == "up"
    assert figures["address"] == ["10.0.0.2/32", "fd00::2/128"]
    assert {path["interface"]: path["state"] for path in figures["paths"]} == {
        "eth0": "active",
        "eth1": "active",
    }
    for path in figures["paths"]:
        assert 15 < path["rtt_ms"] < 60
        assert path["tx_bytes"] > 0 < path["rx_bytes"]
    assert isinstance(network.server.tunnel, ServerTunnel)
    [served] = server_figures(network.server.tunnel)["clients"]
    assert served["user"] == "alice"
    assert served["address"] == figures["address"]
    assert len(served["paths"]) == 2
    json.dumps([figures, served])
    client.tunnel.close(network.now)
    network.settle(client)
    network.run(30)
    assert client_figures(client.tunnel) == {"state": "closed", "address": figures["address"], "paths": []}
    assert server_figures(network.server.tunnel)["clients"] == []


def test_drops_are_named_and_added_up(tmp_path: Path) -> None:
    network = Network(tmp_path)
    network.from_tun(network.server, ipv4(source="192.0.2.9", destination="10.0.0.200"))
    assert drop_figures(network.server.engine) == {"no_route": 1}
    assert drop_figures(network.server.engine, {3: 2}, {15: 1}) == {"no_route": 3, "tun_write": 1}
