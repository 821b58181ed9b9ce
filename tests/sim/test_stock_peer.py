"""One of our ends and a plain QuicConnection of aioquic: RFC 9000 without the extension."""

from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, StreamDataReceived

from mqvpn.multipath.events import PathEstablished
from tests.sim.certificate import certificate_files
from tests.sim.net import Endpoint, Link, Net
from tests.sim.packets import CLIENT_INNER, number_of, udp_packet
from tests.sim.pair import SERVER, Pair

TICK = 0.0001  # seconds


class StockEnd:
    """Drives aioquic as it stands; has what Pair needs of an End."""

    def __init__(self, net: Net, address: Endpoint, *, is_client: bool, cid_length: int = 8) -> None:
        self.net = net
        self.address = address
        self.is_client = is_client
        self.configuration = QuicConfiguration(
            alpn_protocols=["h3"],
            is_client=is_client,
            max_datagram_frame_size=65535,
            verify_mode=0,
            connection_id_length=cid_length,
        )
        self.quic: QuicConnection | None = None
        self.events: list[Any] = []
        if is_client:
            self.quic = self._connection()
        else:
            self.configuration.load_cert_chain(*certificate_files())

    def _connection(self, **arguments: Any) -> QuicConnection:
        quic = QuicConnection(configuration=self.configuration, **arguments)
        if not self.configuration.connection_id_length:  # aioquic would send NEW_CONNECTION_ID without one
            quic._replenish_connection_ids = lambda: None  # type: ignore[method-assign]
        return quic

    def receive(self, source: Endpoint, destination: Endpoint, data: bytes, ecn: int = 0) -> None:
        if self.quic is None:
            cid = data[6 : 6 + data[5]]
            self.quic = self._connection(original_destination_connection_id=cid)
        self.quic.receive_datagram(data, source, self.net.now)
        self.settle()

    def settle(self) -> None:
        if self.quic is None:
            return
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
        for data, remote in self.quic.datagrams_to_send(self.net.now):
            self.net.carry(self.address, remote, data)

    def next_timeout(self) -> float | None:
        at = self.quic.get_timer() if self.quic is not None else None
        return None if at is None else max(at, self.net.now + TICK)  # its pacer may not be ready quite yet

    def handle_timeout(self) -> None:
        at = self.quic.get_timer() if self.quic is not None else None
        if self.quic is not None and at is not None and at <= self.net.now:
            self.quic.handle_timer(self.net.now)
        self.settle()

    def seen(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def connected(*, stock_client: bool, link: Link | None = None, cid_length: int = 8) -> tuple[Pair, Any, Any]:
    """Return the pair, our end and the stock one, after the handshake."""
    pair = Pair(5, link=link)
    if stock_client:
        stock = StockEnd(pair.net, pair.client.addresses[0], is_client=True, cid_length=cid_length)
        pair.client = stock  # type: ignore[assignment]
        assert stock.quic is not None
        stock.quic.connect(SERVER, pair.net.now)
        stock.settle()
        pair.run(2.0)
        return pair, pair.server, stock
    stock = StockEnd(pair.net, SERVER, is_client=False, cid_length=cid_length)
    pair.server = stock  # type: ignore[assignment]
    pair.connect()
    return pair, pair.client, stock


@pytest.mark.parametrize("stock_client", [True, False])
def test_streams_both_ways_through_loss(stock_client: bool) -> None:
    pair, ours, stock = connected(stock_client=stock_client, link=Link(loss=0.05, jitter=0.01))
    assert ours.seen(PathEstablished) == [PathEstablished(0)]
    assert not ours.quic.multipath
    data = bytes(range(256)) * 1000
    for end in (ours, stock):
        stream_id = end.quic.get_next_available_stream_id()
        end.quic.send_stream_data(stream_id, data, end_stream=True)
        end.settle()
    pair.run(20.0)
    for end in (ours, stock):
        assert b"".join(event.data for event in end.seen(StreamDataReceived)) == data
        assert not end.seen(ConnectionTerminated)


@pytest.mark.parametrize("stock_client", [True, False])
def test_datagrams_and_key_updates(stock_client: bool) -> None:
    pair, ours, stock = connected(stock_client=stock_client)
    ours.quic.engine_connection.bind(0)
    to_server = not stock_client
    if stock_client:
        ours.quic.engine_connection.allow([], [(CLIENT_INNER, 32)])
    else:
        ours.engine.set_default(ours.quic.engine_connection)
    for number in range(40):
        if number % 10 == 5:
            stock.quic.request_key_update()
        if number % 10 == 9:
            ours.quic.engine_connection.update_keys()
        stock.quic.send_datagram_frame(b"\0\0" + udp_packet(number, to_server=not to_server))
        stock.settle()
        pair.run(0.1)  # aioquic forgets its old keys at once: packets that were under way are lost to it
        ours.send_packets([udp_packet(number, to_server=to_server)])
        pair.run(0.1)
    assert [number_of(packet) for packet in ours.packets] == list(range(40))
    received = [event.data for event in stock.seen(DatagramFrameReceived)]
    assert [number_of(payload[2:]) for payload in received] == list(range(40))


@pytest.mark.parametrize("stock_client", [True, False])
@pytest.mark.parametrize("we_close", [True, False])
def test_closing(stock_client: bool, we_close: bool) -> None:
    pair, ours, stock = connected(stock_client=stock_client)
    closing, other = (ours, stock) if we_close else (stock, ours)
    closing.quic.close(0x100, None, "bye")
    closing.settle()
    pair.run(5.0)
    assert [event.error_code for event in other.seen(ConnectionTerminated)] == [0x100]
    assert ours.quic.terminated


def test_a_stock_client_may_move_and_change_its_connection_id() -> None:
    pair, ours, stock = connected(stock_client=True)
    moved = ("10.0.1.1", 50000)
    stock.quic.change_connection_id()
    stock.address = moved
    stock.quic.send_stream_data(0, b"from elsewhere")
    stock.settle()
    pair.run(2.0)
    assert [event.data for event in ours.seen(StreamDataReceived)] == [b"from elsewhere"]
    assert ours.quic.paths[0].remote == moved
    assert ours.quic.paths[0].validation is None
    assert sorted(ours.quic._issuance.local.paths[0].active) == [1, 2, 3]


def test_a_silent_stock_peer_ends_us_after_its_idle_timeout() -> None:
    pair, ours, _ = connected(stock_client=True)
    pair.net.links["10.0.1.1"].is_up = False
    pair.run(70.0)
    (event,) = ours.seen(ConnectionTerminated)
    assert event.reason_phrase == "idle timeout"


@pytest.mark.parametrize("stock_client", [True, False])
def test_a_peer_may_use_no_connection_ids(stock_client: bool) -> None:
    """As many clients do that have a socket for each connection (RFC 9000, section 5.1)."""
    pair, ours, stock = connected(stock_client=stock_client, cid_length=0)
    assert ours.seen(PathEstablished) == [PathEstablished(0)]
    stream_id = ours.quic.get_next_available_stream_id()
    ours.quic.send_stream_data(stream_id, b"to you", end_stream=True)
    ours.settle()
    stock.quic.send_stream_data(stock.quic.get_next_available_stream_id(), b"to us")
    stock.settle()
    pair.run(1.0)
    assert [event.data for event in ours.seen(StreamDataReceived)] == [b"to us"]
    assert [event.data for event in stock.seen(StreamDataReceived)] == [b"to you"]
