"""The addresses of the servers of one attempt: all names are looked up at once, and none is waited for in vain."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mqvpn.config.values import HostPort
from mqvpn.daemon.resolve import Endpoint, Unresolved
from mqvpn.tunnel.race import SERVER_HEAD_START

log = logging.getLogger(__name__)


class Names:
    """`find` looks one server up and raises Unresolved; `found` is called for each that is known only later."""

    def __init__(
        self, find: Callable[[HostPort], Awaitable[list[Endpoint]]], found: Callable[[], None]
    ) -> None:
        self._find = find
        self._found = found
        self._known: dict[HostPort, list[Endpoint]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.unresolved: dict[HostPort, str] = {}  # why
        self._waiting = False

    def addresses(self, server: HostPort) -> list[Endpoint]:
        """As last found: while a look-up fails, what was known before is still good."""
        return self._known.get(server, [])

    async def look_up(self, servers: Sequence[HostPort]) -> None:
        """Look these up, until the first is known, or another one is when its time is over. Raises Unresolved.

        What was known before is enough when that time is over: behind links that swallow everything, or have until
        now, a query may be lost, and is sent again only after seconds."""
        self.stop()
        self._waiting = True
        first, *others = [asyncio.create_task(self._look_up(server)) for server in servers]
        waiting = self._tasks = {first, *others}
        try:
            bounded = others or self.addresses(servers[0])
            await asyncio.wait({first}, timeout=SERVER_HEAD_START if bounded else None)
            while waiting and not any(map(self.addresses, servers)):
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting = False
        if not any(map(self.addresses, servers)):
            raise Unresolved(self.unresolved[servers[0]])

    def stop(self) -> None:
        """What is not known by now is not needed any more."""
        for task in self._tasks:
            task.cancel()
        self._tasks = set()

    async def _look_up(self, server: HostPort) -> None:
        try:
            self._known[server] = await self._find(server)
        except Unresolved as error:
            self.unresolved[server] = str(error)
            text = "%s: using the addresses known before" if self.addresses(server) else "%s"
            log.log(logging.WARNING if self.addresses(server) else logging.DEBUG, text, error)
            return
        self.unresolved.pop(server, None)
        if not self._waiting:
            self._found()
