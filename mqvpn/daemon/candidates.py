"""The servers that one attempt asks, and what is learnt of each of them."""

import logging

from mqvpn.config.values import HostPort
from mqvpn.daemon.names import Names
from mqvpn.daemon.servers import Servers
from mqvpn.tunnel.client import ClientTunnel

log = logging.getLogger(__name__)


class Candidates:
    """`asked`: those of the last attempt, the preferred first. Its `tunnel` names them by their places there; None: it
    came to nothing before there was one."""

    def __init__(self, servers: Servers, names: Names) -> None:
        self.asked: tuple[HostPort, ...] = ()
        self._servers = servers
        self._names = names

    def choose(self, now: float) -> tuple[HostPort, ...]:
        """Those of the next attempt."""
        self.asked = self._servers.candidates(now)
        return self.asked

    def failed(self, reason: str, tunnel: ClientTunnel | None, now: float) -> bool:
        """The attempt came to nothing, for this reason: whether there is a server that may do better."""
        if tunnel is not None and tunnel.chosen is not None:
            asked = self.asked[tunnel.chosen]
            another = self._servers.failed(asked, reason, now, answered=True)
            if another:
                log.warning("%s: %s; the next server is %s", asked, reason, self._servers.current)
            return another
        another = False
        for server in self.asked:
            another = self._servers.failed(server, self._why_not(server, tunnel) or reason, now)
        return another

    def settle(self, tunnel: ClientTunnel | None, now: float) -> HostPort:
        """The server that gave the tunnel; those that had a head start are known to fail."""
        place = (tunnel.chosen if tunnel is not None else None) or 0
        server = self.asked[place]
        for other in self.asked[:place]:
            reason = self._why_not(other, tunnel) or f"no answer when {server} had answered"
            log.warning("%s: %s; the server is %s", other, reason, server)
            self._servers.failed(other, reason, now)
        self._servers.worked(server)
        return server

    def _why_not(self, server: HostPort, tunnel: ClientTunnel | None) -> str:
        """Why a server did not answer, if it is known."""
        failures = tunnel.failures if tunnel is not None else {}
        failure = failures.get(self.asked.index(server))
        return failure.reason if failure is not None else self._names.unresolved.get(server, "")
