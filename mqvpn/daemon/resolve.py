"""The servers' addresses from their names, without stopping the loop, and without delaying the daemon's end.

The C library's look-up of a name cannot be stopped, and may take minutes where no name server answers. When one does
again, it may answer the old question or a new one: so what is on its way is waited for by every later look-up, too.
"""

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from functools import partial

from mqvpn.daemon.aside import aside
from mqvpn.system import stub

TIMEOUT = 5.0  # seconds
MOST = 4  # look-ups of one name by the C library at a time, each in a thread

Endpoint = tuple[str, int]


class Unresolved(Exception):
    """The name has no address now; `str()` says why."""


class Resolver:
    """Looks names up, and remembers what was not answered yet."""

    def __init__(self) -> None:
        self._asked: dict[Endpoint, list[asyncio.Future[list[Endpoint]]]] = {}

    async def __call__(
        self, host: str, port: int, mark: int | None = None, servers: Sequence[str] = ()
    ) -> list[Endpoint]:
        """Every address of `host` in the resolver's order (RFC 6724), with `port`. Raises Unresolved.

        With `mark` queries that carry it are sent as well, to `servers` or the machine's name servers: behind a kill
        switch the machine's resolver hears nothing, and by routes into a tunnel that is down it reaches no name server.
        """
        ways: list[Awaitable[list[Endpoint]]] = [self._by_library(host, port)]
        if mark is not None and not stub.is_address(host):
            ways.append(_ask_by_mark(host, port, mark, servers))
        try:
            return await asyncio.wait_for(_first(ways), TIMEOUT)
        except TimeoutError:
            raise Unresolved(f"cannot resolve {host}: no answer within {TIMEOUT:.0f} s") from None

    async def _by_library(self, host: str, port: int) -> list[Endpoint]:
        asked = self._asked.setdefault((host, port), [])
        if len(asked) < MOST:
            question = aside(lambda: look_up(host, port), "resolver")
            asked.insert(0, question)
            question.add_done_callback(partial(self._answered, (host, port)))
        return await _first([asyncio.shield(question) for question in asked])

    def _answered(self, name: Endpoint, question: "asyncio.Future[list[Endpoint]]") -> None:
        question.exception()  # nobody may be waiting for it any more
        self._asked[name].remove(question)
        if not self._asked[name]:
            del self._asked[name]


def look_up(host: str, port: int) -> list[Endpoint]:
    """The same, and wait for the answer as long as the C library does. Raises Unresolved."""
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except OSError as error:
        raise Unresolved(f"cannot resolve {host}: {error.strerror}") from None
    return list(dict.fromkeys(_endpoint(*address) for *_, address in rows))


def _endpoint(host: str | int, port: str | int, _flow: int = 0, scope: int = 0, *_: object) -> Endpoint:
    """Of a struct sockaddr; a link-local address is nothing without its zone, which is a number here."""
    plain = str(host).partition("%")[0]
    return f"{plain}%{scope}" if scope else plain, int(port)


async def _first(ways: Sequence[Awaitable[list[Endpoint]]]) -> list[Endpoint]:
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
