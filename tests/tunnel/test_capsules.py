"""IP packets in DATAGRAM capsules: read by the same rules, and sent to a peer that takes no DATAGRAM frames."""

from pathlib import Path

import pytest

from mqvpn.dataplane.packet import PacketBatch
from mqvpn.tunnel import http3
from mqvpn.tunnel.capsules import compose_datagram, read_datagram
from mqvpn.wire.http3 import Setting
from tests.dataplane.pair import udp_packet
from tests.tunnel.pair import End, Network, is_up


def test_a_capsule_holds_context_0_and_the_packet() -> None:
    assert compose_datagram(b"packet") == bytes([0, 7, 0]) + b"packet"
    assert read_datagram(b"\0packet") == b"packet"


@pytest.mark.parametrize("payload", [b"", b"\2packet", b"\x40"])
def test_other_contexts_and_broken_payloads_are_dropped(payload: bytes) -> None:
    assert read_datagram(payload) is None


def up(tmp_path: Path) -> tuple[Network, End]:
    net = Network(tmp_path)
    client = net.client()
    net.start(client)
    assert net.run_until(lambda: is_up(client))
    net.run(0.5)
    return net, client


def inner(client: End) -> str:
    return str(client.tunnel.addresses[0].network_address)  # type: ignore[attr-defined]


def send_capsule(net: Network, client: End, packet: bytes) -> list[bytes]:
    """What the server writes into its TUN when the client sends this packet in a capsule."""
    client.tunnel._send(compose_datagram(packet))  # type: ignore[attr-defined]
    client.tunnel.handle_timeout(net.now)
    net.settle(client)
    net.server.answers.clear()
    net.run(0.2)
    return net.server.answers


def test_a_packet_in_a_capsule_reaches_the_tun(tmp_path: Path) -> None:
    net, client = up(tmp_path)
    packet = udp_packet(inner(client), "192.0.2.99", b"hello")
    assert send_capsule(net, client, packet) == [packet]


def test_a_packet_in_a_capsule_from_another_source_does_not(tmp_path: Path) -> None:
    net, client = up(tmp_path)
    assert send_capsule(net, client, udp_packet("10.9.9.9", "192.0.2.99", b"hello")) == []


def without_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither end offers QUIC DATAGRAM or HTTP Datagrams."""
    settings = http3._Connection._get_local_settings
    monkeypatch.setattr(
        http3._Connection, "_get_local_settings", lambda self: settings(self) | {Setting.H3_DATAGRAM: 0}
    )


def test_packets_go_in_capsules_to_a_peer_without_datagrams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_datagrams(monkeypatch)
    net, client = up(tmp_path)
    packets = [udp_packet(inner(client), "192.0.2.99", bytes([number]) * 900) for number in range(200)]
    for packet in packets:
        net.from_tun(client, packet)
        net.run(0.005)
    net.run(1.0)
    assert net.server.answers == packets
    assert net.server.packets == []  # none in DATAGRAM frames
    back = udp_packet("192.0.2.99", inner(client), b"hello")
    net.from_tun(net.server, back)
    net.settle(net.server)  # as a daemon does, once the engine has events
    net.run(0.5)
    assert client.answers == [back]


def test_what_a_capsule_stream_cannot_take_waits_in_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_datagrams(monkeypatch)
    net, client = up(tmp_path)
    net.dead.add(client.address)
    batch = PacketBatch()
    for number in range(1000):
        batch.append(udp_packet(inner(client), "192.0.2.99", bytes([number % 256]) * 900))
        if len(batch) == 50:
            client.engine.from_tun(batch, net.now)
            net.settle(client)
    connection = client.tunnel.connection  # type: ignore[attr-defined]
    assert connection.unacknowledged(0) < 300_000
