"""The client in figures: its tunnel and paths, and what the last attempts came to."""

from collections.abc import Callable
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.daemon.dns import Dns
from mqvpn.daemon.pump import Pump
from mqvpn.daemon.servers import Servers
from mqvpn.daemon.status import Status, duration
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.counters import client_figures, endpoint_text, traffic_figures
from mqvpn.tunnel.reordering import reordering
from mqvpn.tunnel.state import State


class ClientStatus(Status):
    """The client's tunnel, and what its last attempts came to."""

    role = "client"
    _settings: ClientSettings

    def __init__(
        self, settings: ClientSettings, engine: Engine, pump: Pump, interface: str, dns: Dns, servers: Servers
    ) -> None:
        super().__init__(settings, engine, pump, interface)
        self._servers = servers
        self.interfaces: Callable[[], list[str]] = lambda: [path.interface for path in settings.paths] or [""]
        self._dns = dns
        self.usage: Callable[[str], dict[str, Any]] = lambda name: {"cap": None, "used": None, "period": None}
        self.routes: Callable[[], list[dict[str, str]]] = list
        self._mtu = 0
        self._up_since: float | None = None
        self._closed: dict[str, Any] | None = None
        self._closed_at = 0.0
        self._attempt_at: float | None = None
        self._attempts = 0
        self._reasons: dict[str, str] = {}  # why an interface has no path, or none that answers

    def attempt(self) -> None:
        """A new attempt begins."""
        self._attempts += 1
        self._attempt_at = None

    def wait(self, delay: float) -> None:
        """The next attempt comes in so many seconds."""
        self._attempt_at = clock() + delay

    def ended(self, closed: events.Closed) -> None:
        """An attempt, or a tunnel, is over."""
        self._up_since = None
        self._closed = {"reason": closed.reason, "cause": closed.cause.name.lower()}
        self._closed_at = clock()

    def handle_event(self, event: Any) -> None:
        """Follow what the tunnel tells."""
        match event:
            case events.TunnelUp(mtu=mtu):
                self._mtu, self._attempts = mtu, 0
                self._up_since = clock()
            case events.MtuChanged(mtu=mtu):
                self._mtu = mtu
            case events.PathUp(interface=interface) | events.PathAnswers(interface=interface):
                self._reasons.pop(interface, None)
            case events.PathDown(interface=interface, reason=reason):
                self._reasons[interface] = reason
            case events.PathSilent(interface=interface):
                self._reasons[interface] = "does not answer"

    def __call__(self) -> dict[str, Any]:
        """The status."""
        now = clock()
        return (
            self.head()
            | self._tunnel_figures()
            | {
                "server": self._server(),
                "servers": self._servers.status(now),
                "up": None if self._up_since is None else round(now - self._up_since),
                "mtu": self._mtu,
                "attempts": self._attempts,
                "next_attempt": None if self._attempt_at is None else max(0, round(self._attempt_at - now)),
                "last_close": self._last_close(now),
                "interfaces": self._interfaces(),
                "routes": self.routes(),
                "dns": self._dns.status(),
            }
            | self.machine()
        )

    def describe(self) -> str:
        """One line for `systemctl status`."""
        figures = self._tunnel_figures()
        if figures["state"] != State.UP.value:
            reason = f" ({self._closed['reason']})" if self._closed else ""
            return f"{figures['state'].capitalize()}: {self._servers.current}{reason}"
        paths = figures["paths"]
        usable = sum(path["usable"] for path in paths)
        shown = ", ".join(f"{path['interface'] or 'default'} {path['rtt_ms']:.0f}ms" for path in paths)
        address = figures["address"][0].partition("/")[0] if figures["address"] else "no address"
        since = "" if self._up_since is None else f"; up {duration(clock() - self._up_since)}"
        rest = f"{address}{since}{self._dns.describe()}"
        return f"Connected to {self._servers.current}; {usable}/{len(paths)} paths ({shown}); {rest}"

    def _tunnel_figures(self) -> dict[str, Any]:
        tunnel = self._pump.tunnel
        if isinstance(tunnel, ClientTunnel):
            return client_figures(tunnel)
        nothing = {"traffic": traffic_figures(None), "reordering": reordering([])._asdict()}
        return {"state": "resolving", "address": [], "paths": []} | nothing

    def _server(self) -> dict[str, Any]:
        tunnel = self._pump.tunnel if isinstance(self._pump.tunnel, ClientTunnel) else None
        address = tunnel.server if tunnel else None
        dates = tunnel.connection.validity if tunnel and tunnel.connection else None
        return {
            "name": str(self._servers.current),
            "address": endpoint_text(address) if address else None,
            "certificate": {"valid_from": int(dates[0]), "valid_until": int(dates[1])} if dates else None,
        }

    def _last_close(self, now: float) -> dict[str, Any] | None:
        return None if self._closed is None else self._closed | {"ago": round(now - self._closed_at)}

    def _interfaces(self) -> list[dict[str, Any]]:
        """What is configured and, of patterns, found; whether a path runs over it, and if not what is known of why."""
        tunnel = self._pump.tunnel
        running = set(tunnel.interfaces().values()) if isinstance(tunnel, ClientTunnel) else set()
        return [
            {"name": name, "path": name in running, "reason": self._reasons.get(name)} | self.usage(name)
            for name in self.interfaces()
        ]
