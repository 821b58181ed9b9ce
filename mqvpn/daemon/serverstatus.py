"""The server in figures: how many clients it has, and page by page who they are."""

from collections import Counter
from typing import Any

from mqvpn.config.server import ServerSettings
from mqvpn.daemon.pump import Pump
from mqvpn.daemon.status import Status
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.tunnel import events
from mqvpn.tunnel.counters import server_client_figures, traffic_figures
from mqvpn.tunnel.reordering import Reordering, reordering
from mqvpn.tunnel.roster import Client
from mqvpn.tunnel.server import ServerTunnel

PAGE = 16  # clients in one answer: about 16 KB and 4 ms, in which no packets move


class ServerStatus(Status):
    """The server and its clients."""

    role = "server"
    _settings: ServerSettings

    def __init__(self, settings: ServerSettings, engine: Engine, pump: Pump, interface: str) -> None:
        super().__init__(settings, engine, pump, interface)
        self._joined: dict[int, float] = {}  # when, by the client's number
        self._refused: Counter[str] = Counter()
        self._served = 0

    @property
    def settings(self) -> ServerSettings:
        """The settings in force."""
        return self._settings

    def handle_event(self, event: Any) -> None:
        """Follow what the tunnel tells."""
        match event:
            case events.ClientJoined(number=number):
                self._joined[number] = clock()
                self._served += 1
            case events.ClientLeft(number=number):
                self._joined.pop(number, None)
            case events.ClientRefused(status=status):
                self._refused[str(status)] += 1

    def __call__(self) -> dict[str, Any]:
        """The status: of users only how many there are."""
        tunnel = self._tunnel
        return (
            self.head()
            | {
                "state": "up",
                "listen": str(self._settings.listen),
                "connected": tunnel.active if tunnel else 0,
                "half_open": tunnel.half_open if tunnel else 0,
                "max_clients": self._settings.max_clients,
                "served": self._served,
                "refused": dict(self._refused),
                "internal_errors": tunnel.internal_errors if tunnel else 0,
            }
            | self.machine()
        )

    def everything(self) -> dict[str, Any]:
        """The status and every client, for the statistics file."""
        clients = self._tunnel.clients if self._tunnel else []
        return self() | {"clients": [self._client(client) for client in clients]}

    def page(self, after: int, limit: int = PAGE) -> tuple[list[dict[str, Any]], int | None]:
        """Clients in the order of their numbers, those above `after`; and the number to go on from."""
        clients = self._tunnel.clients if self._tunnel else []
        rest = sorted((client for client in clients if client.number > after), key=lambda client: client.number)
        shown = rest[:limit]
        return [self._client(client) for client in shown], shown[-1].number if len(rest) > limit else None

    def packets(self) -> tuple[int, int]:
        """IP packets to and from the clients that are connected now."""
        clients = self._tunnel.clients if self._tunnel else []
        traffic = [traffic_figures(client.connection) for client in clients]
        return sum(one["tx_packets"] for one in traffic), sum(one["rx_packets"] for one in traffic)

    def reordering(self) -> Reordering:
        """What putting the flows of the clients in order came to that are connected now."""
        return reordering(client.connection for client in (self._tunnel.clients if self._tunnel else []))

    def describe(self) -> str:
        """One line for `systemctl status`."""
        tunnel = self._tunnel
        return f"Serving {self._settings.listen}; {tunnel.active if tunnel else 0} clients"

    @property
    def _tunnel(self) -> ServerTunnel | None:
        return self._pump.tunnel if isinstance(self._pump.tunnel, ServerTunnel) else None

    def _client(self, client: Client) -> dict[str, Any]:
        joined = self._joined.get(client.number)
        since = None if joined is None else round(clock() - joined)
        return server_client_figures(client) | {"connected": since}
