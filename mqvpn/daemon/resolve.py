"""The server's addresses from its name, without stopping the loop, and without delaying the daemon's end.

asyncio's own getaddrinfo() runs in a thread that the loop waits for when it closes: as long as a resolver that
does not answer takes to give up.
"""

import asyncio
import socket
import threading
from contextlib import suppress

TIMEOUT = 5.0  # seconds


class Unresolved(Exception):
    """The name has no address now; `str()` says why."""


async def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """Every address of `host` in the resolver's order (RFC 6724), with `port`. Raises Unresolved."""
    try:
        found = await asyncio.wait_for(_ask(host, port), TIMEOUT)
    except TimeoutError:
        raise Unresolved(f"cannot resolve {host}: no answer within {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise Unresolved(f"cannot resolve {host}: {error.strerror}") from None
    return list(dict.fromkeys(found))


def _ask(host: str, port: int) -> "asyncio.Future[list[tuple[str, int]]]":
    """Start a thread that looks `host` up; nobody waits for its end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[str, int]]] = loop.create_future()

    def tell(found: list[tuple[str, int]] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look_up() -> None:
        found: list[tuple[str, int]] | OSError
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
            found = [(str(address[0]), int(address[1])) for *_, address in rows]
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the loop is closed: it came too late
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    return answer
