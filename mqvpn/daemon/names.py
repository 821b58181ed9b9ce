"""The addresses of the servers of one attempt: all names are looked up at once, and none is waited for in vain."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from mqvpn.config.values import HostPort
from mqvpn.daemon.resolve import Endpoint, Unresolved
from mqvpn.daemon.timerfd import clock
from mqvpn.system.stub import is_address
from mqvpn.tunnel.race import SERVER_HEAD_START
from mqvpn.tunnel.reach import INTERVAL, LONG, SELDOM

log = logging.getLogger(__name__)

SPARING = 10.0  # seconds, at most, between two look-ups of names whose addresses are known, but lead nowhere
MOST_SEEN = 256  # addresses


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
        self._unknown_since: float | None = None  # that no address of any is known
        self._seen: set[Endpoint] = set()  # of all servers: what was known once is no news
        self._news = asyncio.Event()

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
            self._unknown_since = self._unknown_since or clock()
            raise Unresolved(self.unresolved[servers[0]])

    async def keep_asking(self, servers: Sequence[HostPort]) -> None:
        """Look these up again and again, until one has an address that was not known before.

        That a name server was silent and answers again, or a captive portal gives the real addresses at last, is no
        event on this machine, and attempts come ever more seldom. A look-up costs the machine's resolver a query or
        two; as those by which `Reach` asks for servers, they come more seldom when it has been long."""
        self._news.clear()
        named = [server for server in servers if not is_address(server.host)]
        while True:
            interval = SPARING if any(map(self.addresses, servers)) else INTERVAL
            if self._unknown_since is not None and clock() - self._unknown_since > LONG:
                interval *= SELDOM
            with suppress(TimeoutError):
                pause = random.uniform(interval * 2 / 3, interval)  # noqa: S311 -- nobody must be unable to guess it
                await asyncio.wait_for(self._news.wait(), pause)
                return
            self._tasks = {task for task in self._tasks if not task.done()}
            self._tasks |= {asyncio.create_task(self._look_up(server)) for server in named}

    def stop(self) -> None:
        """What is not known by now is not needed any more."""
        for task in self._tasks:
            task.cancel()
        self._tasks = set()

    async def _look_up(self, server: HostPort) -> None:
        try:
            found = self._known[server] = await self._find(server)
        except Unresolved as error:
            self.unresolved[server] = str(error)
            text = "%s: using the addresses known before" if self.addresses(server) else "%s"
            log.log(logging.WARNING if self.addresses(server) else logging.DEBUG, text, error)
            return
        self.unresolved.pop(server, None)
        self._unknown_since = None
        if not self._seen.issuperset(found):
            self._news.set()
        self._seen.update(found)
        if len(self._seen) > MOST_SEEN:
            self._seen = set(found)
        if not self._waiting:
            self._found()
