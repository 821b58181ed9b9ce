"""Which of several servers is asked: the one that worked last as long as it does, else the first that is not known to
fail; when all of them failed lately, the one whose failure is the longest ago."""

from collections.abc import Sequence
from typing import Any

from mqvpn.config.values import HostPort

FORGIVEN = 300.0  # seconds after which a server that failed is as good as any other again


class Servers:
    """An ordered list, the preferred first. `current` is the server to ask now."""

    def __init__(self, servers: Sequence[HostPort]) -> None:
        self._servers = tuple(servers)
        self._failures: dict[HostPort, tuple[float, str]] = {}
        self.current = self._servers[0]

    def replace(self, servers: Sequence[HostPort]) -> None:
        """Another list; the current server stays if it is in it."""
        self._servers = tuple(servers)
        self._failures = {server: why for server, why in self._failures.items() if server in self._servers}
        if self.current not in self._servers:
            self.current = self._servers[0]

    def worked(self) -> None:
        """The current server gave a tunnel."""
        self._failures.pop(self.current, None)

    def failed(self, reason: str, now: float) -> bool:
        """The current server did not: go to the next. Returns whether that one is not known to fail, too."""
        self._failures[self.current] = now, reason
        healthy = [server for server in self._servers if self._is_healthy(server, now)]
        self.current = healthy[0] if healthy else min(self._servers, key=lambda server: self._failures[server][0])
        return bool(healthy)

    def forgive(self) -> None:
        """The machine's own links have changed: what failed may work now."""
        self._failures.clear()

    def status(self, now: float) -> list[dict[str, Any]]:
        """Each with its name, whether it is the current one, and why it is not asked; null: it may be."""
        return [
            {
                "name": str(server),
                "current": server == self.current,
                "failure": None if self._is_healthy(server, now) else self._failures[server][1],
            }
            for server in self._servers
        ]

    def _is_healthy(self, server: HostPort, now: float) -> bool:
        return server not in self._failures or now - self._failures[server][0] >= FORGIVEN
