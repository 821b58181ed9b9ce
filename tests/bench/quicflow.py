"""One QUIC connection that downloads as fast as it can: what a browser's HTTP/3 meets inside a tunnel.

Runs as a program inside a namespace:

    quicflow.py serve ADDRESS PORT CERTIFICATE KEY      prints "ready"; answers each stream with a block
    quicflow.py fetch ADDRESS PORT START SECONDS        prints the Mbit/s received in SECONDS after START

aioquic on both sides, so loss detection is that of RFC 9002 (three packets of reordering are a loss) with CUBIC.
It carries some 100 to 200 Mbit/s, and takes a good part of a core for that.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

BLOCK = bytes(1 << 20)
AT_ONCE = 8  # blocks asked for in advance: more than any link of the bench holds
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
BUFFER = 4 << 20


def configuration(*, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        congestion_control_algorithm="cubic",
        max_data=8 * AT_ONCE * len(BLOCK),
        max_stream_data=2 * len(BLOCK),
        verify_mode=ssl.CERT_NONE if is_client else None,
    )


class Roomy(QuicConnectionProtocol):
    """Its socket holds a burst, so that what is lost was lost by the network."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        enlarge(transport)


def enlarge(transport: Any) -> None:
    own: socket.socket = transport.get_extra_info("socket")
    for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
        own.setsockopt(socket.SOL_SOCKET, option, BUFFER)


class Sender(QuicConnectionProtocol):
    """Answers the end of each request stream with one block."""

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.end_stream:
            self._quic.send_stream_data(event.stream_id, BLOCK, end_stream=True)


class Receiver(Roomy):
    """Counts what arrives, and asks for another block when one is complete."""

    received = 0

    def ask(self) -> None:
        self._quic.send_stream_data(self._quic.get_next_available_stream_id(), b"?", end_stream=True)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.received += len(event.data)
            if event.end_stream:
                self.ask()


async def serve_blocks(address: str, port: int, certificate: str, key: str) -> None:
    settings = configuration(is_client=False)
    settings.load_cert_chain(certificate, key)
    server = await serve(address, port, configuration=settings, create_protocol=Sender)
    enlarge(server._transport)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def fetch(address: str, port: int, start: float, seconds: float) -> float:
    """Mbit/s of payload."""
    settings = configuration(is_client=True)
    async with connect(address, port, configuration=settings, create_protocol=Receiver) as protocol:
        assert isinstance(protocol, Receiver)
        for _ in range(AT_ONCE):
            protocol.ask()
        protocol.transmit()
        await asyncio.sleep(start)
        before = protocol.received
        await asyncio.sleep(seconds)
        return (protocol.received - before) * 8e-6 / seconds


if __name__ == "__main__":
    role, where, port_text, *rest = sys.argv[1:]
    if role == "serve":
        asyncio.run(serve_blocks(where, int(port_text), *rest))
    else:
        print(asyncio.run(fetch(where, int(port_text), *map(float, rest))), flush=True)
