"""The engine against itself: two ends in memory, virtual time."""

import pytest

from mqvpn.dataplane import engine as e
from mqvpn.wire.drop import Drop
from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, udp_packet


def packets(count: int, size: int = 1000, port: int = 2000) -> list[bytes]:
    return [
        udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, n.to_bytes(4, "big") + bytes(size - 4), (1000, port)) for n in range(count)
    ]


@pytest.mark.parametrize("suite", [e.AES_128_GCM, e.AES_256_GCM, e.CHACHA20_POLY1305])
def test_packets_arrive_unchanged_in_order(suite: int) -> None:
    pair = Pair([Link()], suite=suite)
    sent = packets(30)
    pair.client.push(sent, pair.now)
    pair.run(1)
    assert pair.server.received == sent
    assert pair.client.conn.path(0).in_flight == 0
    assert pair.client.conn.path(0).srtt == pytest.approx(0.02, rel=0.3)
