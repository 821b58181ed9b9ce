"""The server's addresses from its name, without stopping the loop, and without delaying the daemon's end."""

import asyncio
import socket

from mqvpn.daemon.aside import aside

TIMEOUT = 5.0  # seconds

Endpoint = tuple[str, int]


class Unresolved(Exception):
    """The name has no address now; `str()` says why."""


async def resolve(host: str, port: int) -> list[Endpoint]:
    """Every address of `host` in the resolver's order (RFC 6724), with `port`. Raises Unresolved."""
    try:
        return await asyncio.wait_for(aside(lambda: look_up(host, port), "resolver"), TIMEOUT)
    except TimeoutError:
        raise Unresolved(f"cannot resolve {host}: no answer within {TIMEOUT:.0f} s") from None


def look_up(host: str, port: int) -> list[Endpoint]:
    """The same, and wait for the answer as long as the C library does. Raises Unresolved."""
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except OSError as error:
        raise Unresolved(f"cannot resolve {host}: {error.strerror}") from None
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in rows))
