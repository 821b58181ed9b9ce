"""A QUIC server that completes handshakes, and then says nothing: no SETTINGS, no answers.

Runs as a program inside a namespace: -m tests.lab.silent ADDRESS PORT CERTIFICATE KEY.
"""

from __future__ import annotations

import asyncio
import sys

from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration


async def main(address: str, port: str, certificate: str, key: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], max_datagram_frame_size=65536)
    configuration.load_cert_chain(certificate, key)
    await serve(address, int(port), configuration=configuration)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
