"""Keeps to what the server's interfaces take, when one of them gets another MTU."""

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from mqvpn.daemon.pump import Pump
from mqvpn.daemon.tasks import begin
from mqvpn.daemon.timerfd import clock
from mqvpn.system.errors import OperationFailed
from mqvpn.system.mtuwatch import MtuWatch
from mqvpn.tunnel.server import ServerTunnel

log = logging.getLogger(__name__)

SETTLED = 0.1  # seconds: changes of a moment are looked at together
WHAT = "following the interfaces' MTUs"


class LinkMtu:
    """From entering it to leaving it, the paths of all clients are measured anew behind such a change: without that
    what no longer fits would have to be lost first, and a larger MTU be found after ten minutes only."""

    def __init__(self, tunnel: ServerTunnel, pump: Pump, follow: Callable[[], None]) -> None:
        """follow: gives the TUN an MTU that fits the interfaces. Raises OperationFailed."""
        self._tunnel = tunnel
        self._follow = follow
        self._pump = pump
        self._watch = MtuWatch()
        self._look: asyncio.Task[None] | None = None
        self._again = False

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._changed)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        if self._look is not None:
            self._look.cancel()
        self._watch.close()

    def _changed(self) -> None:
        try:
            if not self._watch.changed():
                return
        except OperationFailed as error:
            log.error("%s", error)
            return
        self._again = True
        if self._look is None or self._look.done():
            self._look = begin(self._look_at_all(), WHAT)

    async def _look_at_all(self) -> None:
        """A client at a time, for each path asks the kernel for its route; packets move in between."""
        while self._again:
            await asyncio.sleep(SETTLED)
            self._again = False
            try:
                self._follow()
            except OperationFailed as error:
                log.error("%s", error)
            for client in self._tunnel.clients:
                now = clock()
                self._tunnel.measure(client, now)
                self._pump.wake(now)
                await asyncio.sleep(0)
