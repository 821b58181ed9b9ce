"""The caps of `Path` lines: what is used of them is counted while the client runs, and what follows is decided here.

One step down when a cap is used up: a primary interface becomes a backup, a backup is not used until the period ends.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.daemon.clientoptions import setting_of
from mqvpn.daemon.eventlog import event
from mqvpn.daemon.meter import INTERVAL, Meter
from mqvpn.daemon.pump import Pump
from mqvpn.daemon.tasks import begin
from mqvpn.daemon.uplinks import Uplinks
from mqvpn.system.errors import OperationFailed
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.counters import path_figures

log = logging.getLogger(__name__)


class Caps:
    """Whose cap is used up; `changed` is called when that is another set of interfaces than before."""

    def __init__(
        self, settings: Callable[[], ClientSettings], uplinks: Uplinks, changed: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._uplinks = uplinks
        self._changed = changed
        self._meter = Meter(os.environ.get("STATE_DIRECTORY"))
        self._spent: set[str] = set()
        uplinks.barred = self._barred

    def is_spent(self, interface: str) -> bool:
        """Whether the interface's cap is used up."""
        return self._meter.is_spent(interface, setting_of(self._settings(), interface), time.time())

    def usage(self, interface: str) -> dict[str, Any]:
        """The cap and what is used of it in its period, in bytes; null: there is no cap."""
        setting = setting_of(self._settings(), interface)
        if not setting.cap:
            return {"cap": None, "used": None, "period": None}
        used = self._meter.used(interface, setting.period, time.time())
        return {"cap": setting.cap, "used": used, "period": setting.period}

    @asynccontextmanager
    async def counting(self, pump: Pump) -> AsyncIterator[None]:
        """Count while the block lasts."""
        task = begin(self._count(pump), "counting what caps limit")
        try:
            yield
        finally:
            task.cancel()
            self._look(pump)
            await self._meter.close()

    async def _count(self, pump: Pump) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                self._look(pump)
                self._decide()
            except OperationFailed as error:
                log.warning("%s", error)

    def _look(self, pump: Pump) -> None:
        tunnel = pump.tunnel
        if not isinstance(tunnel, ClientTunnel) or tunnel.connection is None:
            return
        if any(path.cap for path in self._settings().paths):
            figures = path_figures(tunnel.connection, tunnel.interfaces())
            self._meter.count(tunnel.connection.id, figures, time.time())

    def _decide(self) -> None:
        spent = {name for name in self._uplinks.names() if self.is_spent(name)}
        if spent == self._spent:
            return
        for name in spent - self._spent:
            setting = setting_of(self._settings(), name)
            text = "it is not used" if setting.role == "backup" else "it is a backup"
            told = event("cap-reached", path=name)
            log.warning("%s: its cap is used up: %s until the %s ends", name, text, setting.period, extra=told)
        for name in self._spent - spent:
            log.info("%s: its cap is not used up any more", name, extra=event("cap-renewed", path=name))
        self._spent = spent
        self._changed()

    def _barred(self, interface: str) -> str:
        backup = setting_of(self._settings(), interface).role == "backup"
        return "its cap is used up" if backup and self.is_spent(interface) else ""
