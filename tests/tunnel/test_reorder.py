"""The C mqvpn's way to put UDP flows in order (`mqvpn-reorder: v1`): when it is used, and one flow over two paths."""

from __future__ import annotations

import heapq
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mqvpn.connectip.request import compose
from mqvpn.dataplane.engine import SPREAD_BYTES, STAMP_BYTES
from mqvpn.tunnel import client as module
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.server import ServerTunnel
from mqvpn.wire.drop import Drop
from tests.dataplane.pair import udp_packet
from tests.tunnel.pair import End, Endpoint, Network, is_up
from tests.tunnel.test_spread import inner_mtu

ALL = ((0, 0.03, 1024),)
REORDER = (b"mqvpn-reorder", b"v1")
SPREAD = (b"mqvpn-spread", b"v1")
CLIENT, SERVER = "10.0.0.2", "10.0.0.1"
LINKS = ((0.010, 1_250_000.0), (0.025, 500_000.0))  # delay in seconds, rate in bytes per second


class Wire(Network):
    """The links have delays of their own, and rates once `limited`."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        super().__init__(directory, **changes)
        self.limited = False
        self._free_at: dict[tuple[bool, int], float] = {}

    def _carry(self, source: End, socket: int, remote: Endpoint, data: bytes) -> None:
        to_client = source is self.server
        link = remote[1] - 5000 if to_client else socket
        delay, rate = LINKS[link]
        start = max(self.now, self._free_at.get((to_client, link), 0.0))
        if start - self.now > 0.1:
            return  # the queue is full
        if self.limited:
            start += len(data) / rate
            self._free_at[to_client, link] = start
        for target in self.ends:
            if target.address[0] == remote[0]:
                sender = (source.address[0], source.address[1] + socket)
                number = remote[1] - target.address[1]
                arrival = (start + delay, next(self._serial), target, number, sender, remote, data)
                heapq.heappush(self._flying, arrival)


def up(network: Network, links: int = 2, **changes: Any) -> End:
    client = network.client(links, **changes)
    network.start(client)
    assert network.run_until(lambda: is_up(client))
    network.run(1.0)
    return client


def answered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The header sections that clients take for responses, from now on."""
    seen: list[Any] = []
    check = module.check_response

    def note(headers: Any) -> bool:
        seen.append(headers)
        return check(headers)

    monkeypatch.setattr(module, "check_response", note)
    return seen


@pytest.mark.parametrize(
    ("server", "client", "expected"),
    [
        ({"spread": False, "reorder": ALL}, {"spread": False, "reorder": ALL}, STAMP_BYTES),
        ({"spread": True, "reorder": ALL}, {"spread": False, "reorder": ALL}, STAMP_BYTES),
        ({"spread": False, "reorder": ALL}, {"spread": True, "reorder": ALL}, STAMP_BYTES),
        ({"spread": True, "reorder": ALL}, {"spread": True, "reorder": ALL}, SPREAD_BYTES),
        ({"spread": False}, {"spread": False, "reorder": ALL}, 0),
        ({"spread": False, "reorder": ALL}, {"spread": False}, 0),
    ],
)
def test_it_is_used_where_both_ends_have_it_and_nothing_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any, client: Any, expected: int
) -> None:
    """The server echoes the field of the one that is used; the largest packet still fits, one more byte does not."""
    responses = answered(monkeypatch)
    network = Network(tmp_path, **server)
    plain = up(network, spread=False)
    end = up(network, **client)
    assert inner_mtu(plain) - inner_mtu(end) == expected
    assert [field for field in responses[-1] if field in (REORDER, SPREAD)] == {
        STAMP_BYTES: [REORDER], SPREAD_BYTES: [SPREAD], 0: []
    }[expected]
    for size in (inner_mtu(end), inner_mtu(end) + 1):
        network.from_tun(end, udp_packet("10.0.0.3", SERVER, bytes(size - 28)))
    network.run(0.5)
    assert [len(packet) for packet in network.server.packets] == [inner_mtu(end)]
    assert len(end.answers) == 1


def test_the_request_carries_the_field_behind_those_of_the_c_mqvpn() -> None:
    headers = compose("https://h/.well-known/masque/ip/{target}/{ipproto}/", token=b"key", extensions=[REORDER])
    assert headers[-2:] == [(b"authorization", b"Bearer key"), (b"mqvpn-reorder", b"v1")]


@pytest.mark.parametrize("to_client", [False, True])
def test_a_single_udp_flow_uses_two_paths_and_arrives_in_order(tmp_path: Path, to_client: bool) -> None:
    network = Wire(tmp_path, spread=False, reorder=ALL)
    client = up(network, spread=False, reorder=ALL)
    network.limited = True
    sender, receiver = (network.server, client) if to_client else (client, network.server)
    arrived = flow(network, sender, receiver, to_client, rate=2_000_000, seconds=6)
    late = sum(b < a for a, b in pairwise(arrived))
    assert len(set(arrived)) == len(arrived)
    assert late < len(arrived) * 0.005
    tail = flow(network, sender, receiver, to_client, rate=2_000_000, seconds=3)
    assert len(tail) * 1100 / 3 > 0.85 * sum(rate for _, rate in LINKS)


def flow(network: Network, sender: End, receiver: End, to_client: bool, *, rate: int, seconds: int) -> list[int]:
    """One UDP flow of packets of 1,100 bytes; the numbers of those that arrived, in their order."""
    receiver.packets.clear()
    source, destination = (SERVER, CLIENT) if to_client else (CLIENT, SERVER)
    ports = (2000, 1000) if to_client else (1000, 2000)
    for number in range(rate * seconds // 1100):
        network.from_tun(sender, udp_packet(source, destination, number.to_bytes(4, "big") + bytes(1068), ports))
        network.run(1100 / rate)
    return [int.from_bytes(packet[28:32], "big") for packet in receiver.packets if len(packet) == 1100]


def test_clients_with_and_without_it_share_a_server(tmp_path: Path) -> None:
    network = Network(tmp_path, spread=False, reorder=ALL)
    clients = [up(network, 1, spread=False, reorder=rules) for rules in ((), ALL)]
    for number, client in enumerate(clients):
        network.from_tun(client, udp_packet(f"10.0.0.{number + 2}", SERVER, bytes(100)))
        network.from_tun(network.server, udp_packet(SERVER, f"10.0.0.{number + 2}", bytes(100)))
    network.run(0.5)
    assert len(network.server.packets) == 2
    assert [len(client.packets) for client in clients] == [1, 1]


def test_stamps_without_negotiation_are_dropped_and_hurt_nobody(tmp_path: Path) -> None:
    network = Network(tmp_path, spread=False)
    client = up(network, 1, spread=False)
    assert isinstance(client.tunnel, ClientTunnel)
    assert client.tunnel.connection is not None
    client.tunnel.connection.engine_connection.set_reorder(ALL)  # a peer that does not ask
    network.from_tun(client, udp_packet(CLIENT, SERVER, bytes(100)))
    network.run(0.5)
    assert network.server.packets == []
    assert network.server.engine.drops()[Drop.NOT_IP] == 1
    assert isinstance(network.server.tunnel, ServerTunnel)
    assert len(network.server.tunnel.clients) == 1
