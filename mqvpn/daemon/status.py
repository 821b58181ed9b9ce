"""What both daemons tell of themselves: the one source of the control socket, the statistics file and systemd's
status line. Each status is one JSON object whose form is described in mqvpn.Control.varlink; `schema` changes when
a field changes its meaning or goes, not when one is added.
"""

import os
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.daemon.pump import Pump
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.system.tun import statistics
from mqvpn.tunnel.counters import drop_figures
from mqvpn.version import version

SCHEMA = 1
DAY, HOUR, MINUTE = 86400, 3600, 60


class Status:
    """What both daemons tell."""

    role = ""

    def __init__(self, settings: ClientSettings | ServerSettings, engine: Engine, pump: Pump, interface: str) -> None:
        self._settings = settings
        self._engine = engine
        self._pump = pump
        self._interface = interface
        self._began = clock()
        self._version = version()

    @property
    def settings(self) -> ClientSettings | ServerSettings:
        """The settings in force."""
        return self._settings

    def apply(self, settings: ClientSettings | ServerSettings) -> None:
        """The settings were reloaded."""
        self._settings = settings

    def head(self) -> dict[str, Any]:
        """Who is telling."""
        return {
            "schema": SCHEMA,
            "role": self.role,
            "instance": self._settings.name,
            "version": self._version,
            "pid": os.getpid(),
            "uptime": round(clock() - self._began),
        }

    def machine(self) -> dict[str, Any]:
        """The TUN device, and the packets given up by reason; no reason with a count of 0."""
        drops = drop_figures(self._engine, self._pump.tun.drops(), self._pump.sockets.drops())
        return {"interface": self._interface, "tun": statistics(self._interface), "drops": drops}


def duration(seconds: float) -> str:
    """As short as people say it: 45s, 12min, 5h, 3d."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f}{name}"
    return f"{seconds:.0f}s"
