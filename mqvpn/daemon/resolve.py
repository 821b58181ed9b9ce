"""The server's addresses from its name, without stopping the loop, and without delaying the daemon's end."""

import asyncio
import socket
from collections.abc import Awaitable, Sequence

from mqvpn.daemon.aside import aside
from mqvpn.system import stub

TIMEOUT = 5.0  # seconds

Endpoint = tuple[str, int]


class Unresolved(Exception):
    """The name has no address now; `str()` says why."""


async def resolve(host: str, port: int, mark: int | None = None, servers: Sequence[str] = ()) -> list[Endpoint]:
    """Every address of `host` in the resolver's order (RFC 6724), with `port`. Raises Unresolved.

    With `mark` queries that carry it are sent as well, to `servers` or the machine's name servers: behind a kill switch
    the machine's resolver hears nothing, and by routes into a tunnel that is down it reaches no name server.
    """
    ways: list[Awaitable[list[Endpoint]]] = [aside(lambda: look_up(host, port), "resolver")]
    if mark is not None and not stub.is_address(host):
        ways.append(_ask_by_mark(host, port, mark, servers))
    try:
        return await asyncio.wait_for(_first(ways), TIMEOUT)
    except TimeoutError:
        raise Unresolved(f"cannot resolve {host}: no answer within {TIMEOUT:.0f} s") from None


def look_up(host: str, port: int) -> list[Endpoint]:
    """The same, and wait for the answer as long as the C library does. Raises Unresolved."""
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except OSError as error:
        raise Unresolved(f"cannot resolve {host}: {error.strerror}") from None
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in rows))


async def _first(ways: list[Awaitable[list[Endpoint]]]) -> list[Endpoint]:
    """What the first way finds that finds anything. Raises Unresolved, as the first way did, when none does."""
    waiting = [asyncio.ensure_future(way) for way in ways]
    try:
        for done in asyncio.as_completed(waiting):
            try:
                if found := await done:
                    return found
            except Unresolved:
                continue
        return await waiting[0]
    finally:
        for way in waiting:
            way.cancel()


async def _ask_by_mark(host: str, port: int, mark: int, servers: Sequence[str]) -> list[Endpoint]:
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return []  # the other way says why
    return [(address, port) for address in await stub.look_up(name, mark, servers)]
