"""The figures of a running tunnel, and that they are plain values."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from mqvpn.dataplane.engine import OrderStats
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.counters import client_figures, drop_figures, server_client_figures, traffic_figures
from mqvpn.tunnel.reordering import Reordering, reordering
from mqvpn.tunnel.server import ServerTunnel
from tests.tunnel.pair import Network, is_up
from tests.wire.packets import ipv4


def test_both_ends_in_figures(tmp_path: Path) -> None:
    network = Network(tmp_path, authorize=lambda key: "alice")
    client = network.client(links=2)
    assert isinstance(client.tunnel, ClientTunnel)
    nothing = {
        "address": [], "paths": [], "traffic": traffic_figures(None), "reordering": reordering([None])._asdict(),
    }  # fmt: skip
    assert client_figures(client.tunnel) == {"state": "connecting"} | nothing
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
        assert path["min_rtt_ms"] <= path["rtt_ms"]
        assert path["tx_packets"] > path["lost"] == 0
        assert (path["usable"], path["backup"]) == (True, False)
        assert path["remote"].endswith(":4433")
    assert isinstance(network.server.tunnel, ServerTunnel)
    [served] = [server_client_figures(one) for one in network.server.tunnel.clients]
    assert served["user"] == "alice"
    assert served["address"] == figures["address"]
    assert len(served["paths"]) == 2
    json.dumps([figures, served])
    client.tunnel.close(network.now)
    network.settle(client)
    network.run(30)
    assert client_figures(client.tunnel) == nothing | {"state": "closed", "address": figures["address"]}
    assert network.server.tunnel.clients == []


def test_traffic_counts_ip_packets(tmp_path: Path) -> None:
    network = Network(tmp_path)
    client = network.client()
    assert isinstance(client.tunnel, ClientTunnel)
    network.start(client)
    network.run_until(lambda: is_up(client))
    network.from_tun(client, ipv4(source="10.0.0.2", destination="10.0.0.1"))
    network.run(1)
    figures = client_figures(client.tunnel)["traffic"]
    assert (figures["tx_packets"], figures["rx_packets"]) == (1, 0)
    assert figures["tx_bytes"] == len(ipv4(source="10.0.0.2", destination="10.0.0.1"))
    assert isinstance(network.server.tunnel, ServerTunnel)
    assert traffic_figures(network.server.tunnel.clients[0].connection)["rx_packets"] == 1


def test_drops_are_named_and_added_up(tmp_path: Path) -> None:
    network = Network(tmp_path)
    network.from_tun(network.server, ipv4(source="192.0.2.9", destination="10.0.0.200"))
    assert drop_figures(network.server.engine) == {"no_route": 1}
    assert drop_figures(network.server.engine, {3: 2}, {15: 1}) == {"no_route": 3, "tun_write": 1}


class Connection:
    """Stands for one whose flows were put in order with this result."""

    terminated = False

    def __init__(self, *waits: int, longest: float) -> None:
        counts = [sum(waits)] * 12
        self.engine_connection = SimpleNamespace(order=lambda: OrderStats(*counts, longest, waits))


def test_reordering_is_added_up() -> None:
    first, second = Connection(100, 0, 3, 0, longest=0.003), Connection(0, 0, 0, 5, longest=0.107)
    both = reordering([first, None, second])  # type: ignore[list-item]
    assert (both.numbered, both.flows_demoted, both.longest_ms) == (108, 108, 107.0)
    assert reordering([first]).p99_ms == 3.0  # type: ignore[list-item] -- in the class of 2 to 4 ms; none took longer
    assert reordering([Connection(990, 8, 0, 2, longest=0.1)]).p99_ms == 1.0  # type: ignore[list-item]
    assert reordering([second]).p99_ms == 107.0  # type: ignore[list-item]
    assert reordering([None]) == Reordering()
