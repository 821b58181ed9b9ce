"""Handshakes take milliseconds each, so of many that come at once only some are looked at before packets move."""

from __future__ import annotations

from pathlib import Path

from mqvpn.tunnel.core import HANDSHAKES_AT_ONCE, MAX_HANDSHAKES
from tests.tunnel.pair import Network, is_up
from tests.wire.packets import ipv4

MANY = 3 * HANDSHAKES_AT_ONCE
CROWD = 100
SOON = 0.15  # seconds; a client's first retransmission comes later


def test_the_rest_of_many_waits_until_packets_were_moved(tmp_path: Path) -> None:
    network = Network(tmp_path)
    clients = [network.client() for _ in range(MANY)]
    network.start(*clients)
    server = network.server.tunnel
    network.arrive_together(network.server)
    network.settle(network.server)
    assert server.half_open == HANDSHAKES_AT_ONCE
    assert server.next_timeout() == network.now
    network.settle(network.server)
    assert server.half_open == HANDSHAKES_AT_ONCE
    server.handle_timeout(network.now)
    assert server.half_open == 2 * HANDSHAKES_AT_ONCE
    assert network.run_until(lambda: all(map(is_up, clients)))


def test_a_crowd_behind_one_nat_need_not_ask_twice(tmp_path: Path) -> None:
    """All of them have shown that they are there, and none has to wait for its own retransmission."""
    network = Network(tmp_path, max_clients=CROWD)
    clients = [network.client(nat="198.51.100.200") for _ in range(CROWD)]
    network.start(*clients)
    assert network.run_until(lambda: all(map(is_up, clients)), SOON)


def test_an_established_client_is_served_meanwhile(tmp_path: Path) -> None:
    network = Network(tmp_path)
    before = network.client()
    network.start(before)
    assert network.run_until(lambda: is_up(before))
    crowd = [network.client() for _ in range(MANY)]
    network.start(*crowd)
    network.from_tun(before, ipv4(b"", source="10.0.0.2", destination="10.0.0.1"))
    network.arrive_together(network.server)
    network.settle(network.server)
    assert network.server.tunnel.half_open == HANDSHAKES_AT_ONCE
    assert len(network.server.packets) == 1


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    network = Network(tmp_path)
    server = network.server.tunnel
    client = network.client()
    junk = b"\xc0\0\0\0\1\x08" + bytes(8) + b"\0" + bytes(1200)
    for _ in range(2 * MAX_HANDSHAKES):
        network.arrive(network.server, junk, ("192.0.2.9", 9))
    network.settle(network.server)
    turns = 0
    while server.next_timeout() == network.now:
        server.handle_timeout(network.now)
        turns += 1
    assert turns <= MAX_HANDSHAKES / HANDSHAKES_AT_ONCE + 1
    network.start(client)
    assert network.run_until(lambda: is_up(client))
