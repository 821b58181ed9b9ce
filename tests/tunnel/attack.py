"""A hostile client of the real server tunnel in memory, and an honest one that must not notice."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel import events
from mqvpn.tunnel.roster import Client
from mqvpn.tunnel.server import ServerTunnel
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import Frame, write_frame
from tests.tunnel.pair import End, Network, is_up
from tests.wire.packets import ipv4


def encode(frame: Frame) -> bytes:
    out = Writer()
    write_frame(out, frame)
    return bytes(out)


def varints(*numbers: int) -> bytes:
    out = Writer()
    for number in numbers:
        out.varint(number)
    return bytes(out)


def stream_frame(stream_id: int, offset: int, data: bytes) -> bytes:
    """STREAM with offset and length (RFC 9000, section 19.8)."""
    return varints(0x0E, stream_id, offset, len(data)) + data


class Attack:
    """Both clients have their handshakes behind them; the hostile one sent its request or, unauthenticated, did not."""

    def __init__(self, directory: Path, *, authenticated: bool = False, links: int = 1) -> None:
        self.network = network = Network(directory)
        self.good, self.bad = network.client(), network.client(links)
        if not authenticated:
            self.bad.tunnel._request = lambda *_: None  # type: ignore[attr-defined]
        network.start(self.good, self.bad)
        assert network.run_until(lambda: is_up(self.good), 5.0)
        assert network.run_until(lambda: is_up(self.bad) or self.server.half_open == 1, 5.0)
        network.run(0.5)

    @property
    def server(self) -> ServerTunnel:
        tunnel = self.network.server.tunnel
        assert isinstance(tunnel, ServerTunnel)
        return tunnel

    @property
    def quic(self) -> MultipathConnection:
        """The hostile client's connection."""
        connection = self.bad.tunnel.connection  # type: ignore[attr-defined]
        assert isinstance(connection, MultipathConnection)
        return connection

    @property
    def victim(self) -> Client | None:
        """The server's side of it, as long as there is one."""
        clients = list(self.server._clients.values())
        return clients[1] if len(clients) > 1 else None

    def send(self, *packets: bytes, path_id: int = 0, seconds: float = 0.05) -> None:
        """Send the frames of packets as they are, as far as the connection still stands."""
        for frames in packets:
            if self.ended_with() is None and self.quic.engine_connection.room() >= len(frames):
                self.quic.engine_connection.send(frames, path_id=path_id)
                self.network.settle(self.bad)
        self.network.run(seconds)

    def send_stream(self, stream_id: int, data: bytes) -> None:
        """Send bytes on a stream, retransmitted as usual."""
        if self.ended_with() is None:
            self.quic.send_stream_data(stream_id, data)
            self.settle()
        self.network.run(0.1)

    def settle(self) -> None:
        self.bad.tunnel.touch(self.quic)
        self.network.settle(self.bad)

    def ended_with(self) -> int | None:
        """The error code that the server closed the hostile connection with."""
        return self.quic.close_event.error_code if self.quic.close_event is not None else None

    def others_are_unhurt(self) -> bool:
        """Whether the honest client still has its tunnel, and nothing went wrong inside the server."""
        return passes(self.network, self.good) and self.server.internal_errors == 0


def passes(network: Network, client: End) -> bool:
    """Whether a packet passes each way."""
    if client.of(events.Closed):
        return False
    address = str(client.of(events.TunnelUp)[0].addresses[0][0])
    before = len(network.server.packets), len(client.packets)
    network.from_tun(client, ipv4(source=address, destination="192.0.2.99"))
    network.from_tun(network.server, ipv4(source="192.0.2.99", destination=address))
    network.run(0.3)
    return (len(network.server.packets), len(client.packets)) == (before[0] + 1, before[1] + 1)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def growth() -> Iterator[list[int]]:
    """Measure what Python objects, and what the process, grow by: two numbers of bytes when done."""
    grown: list[int] = []
    gc.collect()
    tracemalloc.start()
    before, resident_before = tracemalloc.get_traced_memory()[0], resident()
    try:
        yield grown
        gc.collect()
        grown += (tracemalloc.get_traced_memory()[0] - before, resident() - resident_before)
    finally:
        tracemalloc.stop()
