"""The server's addresses from its name, without stopping the loop."""

import asyncio
import socket

TIMEOUT = 5.0  # seconds


class Unresolved(Exception):
    """The name has no address now; `str()` says why."""


async def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """Every address of `host` in the resolver's order (RFC 6724), with `port`. Raises Unresolved."""
    loop = asyncio.get_running_loop()
    asked = loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    try:
        found = await asyncio.wait_for(asked, TIMEOUT)
    except TimeoutError:
        raise Unresolved(f"cannot resolve {host}: no answer within {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise Unresolved(f"cannot resolve {host}: {error.strerror}") from None
    endpoints = [(str(address[0]), int(address[1])) for *_, address in found]
    return list(dict.fromkeys(endpoints))
