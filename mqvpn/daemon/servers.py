"""Which of several servers are asked, and in what order: first the one that worked last as long as it does, else the
first that is not known to fail; when all of them failed lately, the one whose failure is the longest ago."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mqvpn.config.values import HostPort

FORGIVEN = 300.0  # seconds after which a server that failed is as good as any other again


@dataclass(frozen=True, slots=True)
class Failure:
    """Why and when a server gave no tunnel; `answered`: there was a handshake, so it is soon done each time."""

    reason: str
    at: float
    answered: bool


class Servers:
    """An ordered list, the preferred first. `current` is the server to ask first, or that we are connected to."""

    def __init__(self, servers: Sequence[HostPort]) -> None:
        self._servers = tuple(servers)
        self._failures: dict[HostPort, Failure] = {}
        self.current = self._servers[0]

    def replace(self, servers: Sequence[HostPort]) -> None:
        """Another list; the current server stays if it is in it."""
        self._servers = tuple(servers)
        self._failures = {server: why for server, why in self._failures.items() if server in self._servers}
        if self.current not in self._servers:
            self.current = self._servers[0]

    def candidates(self, now: float) -> tuple[HostPort, ...]:
        """The servers for one attempt, the current one first. One that answers and gives no tunnel would win the race
        against a good one that is slow: it is asked only when it is the current one."""
        others = [server for server in self._servers if server != self.current and not self._answered(server, now)]
        others.sort(key=lambda server: 0.0 if self._is_healthy(server, now) else self._failures[server].at)
        return (self.current, *others)

    def worked(self, server: HostPort) -> None:
        """This server gave a tunnel: stay with it, unless a reload has just taken it out of the list."""
        self._failures.pop(server, None)
        if server in self._servers:
            self.current = server

    def failed(self, server: HostPort, reason: str, now: float, *, answered: bool = False) -> bool:
        """This server did not: go to the next. Returns whether that one is not known to fail, too."""
        if server in self._servers:
            self._failures[server] = Failure(reason, now, answered)
        healthy = [server for server in self._servers if self._is_healthy(server, now)]
        self.current = healthy[0] if healthy else min(self._servers, key=lambda server: self._failures[server].at)
        return bool(healthy)

    def has_another(self, now: float) -> bool:
        """Whether, beside the current one, there is a server that is not known to fail."""
        return any(self._is_healthy(server, now) for server in self._servers if server != self.current)

    def forgive(self) -> None:
        """The machine's own links have changed: what failed may work now."""
        self._failures.clear()

    def status(self, now: float) -> list[dict[str, Any]]:
        """Each with its name, whether it is the current one, and why it is not asked; null: it may be."""
        return [
            {
                "name": str(server),
                "current": server == self.current,
                "failure": None if self._is_healthy(server, now) else self._failures[server].reason,
            }
            for server in self._servers
        ]

    def _answered(self, server: HostPort, now: float) -> bool:
        return not self._is_healthy(server, now) and self._failures[server].answered

    def _is_healthy(self, server: HostPort, now: float) -> bool:
        return server not in self._failures or now - self._failures[server].at >= FORGIVEN
