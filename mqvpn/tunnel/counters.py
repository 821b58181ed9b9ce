"""A tunnel in figures, as plain values for status lines and the statistics file."""

from dataclasses import asdict, dataclass
from typing import Any

from mqvpn.dataplane.engine import Engine
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.server import ServerTunnel
from mqvpn.wire.drop import Drop


@dataclass(frozen=True, slots=True)
class PathFigures:
    """One path: milliseconds, bytes and packets since it was opened."""

    id: int
    interface: str
    state: str
    rtt_ms: float
    cwnd: int
    mtu: int
    tx_bytes: int
    rx_bytes: int
    lost: int


def path_figures(connection: MultipathConnection, interfaces: dict[int, str]) -> list[PathFigures]:
    """The open paths of a connection; `interfaces`: their names by path ID."""
    figures: list[PathFigures] = []
    if connection.terminated:
        return figures
    known = set(connection.engine_connection.path_ids())
    for path_id, path in sorted(connection.paths.items()):
        if path_id not in known:
            continue
        now = connection.engine_connection.path(path_id)
        state = "suspect" if now.suspect else path.state.name.lower()
        figures.append(
            PathFigures(
                path_id,
                interfaces.get(path_id, ""),
                state,
                round(now.srtt * 1000, 3),
                now.cwnd,
                now.mtu,
                now.tx_bytes,
                now.rx_bytes,
                now.lost,
            )
        )
    return figures


def client_figures(tunnel: ClientTunnel) -> dict[str, Any]:
    """State, inner addresses and paths of a client."""
    connection = tunnel.connection
    paths = [] if connection is None else path_figures(connection, tunnel.interfaces())
    return {
        "state": tunnel.state.value,
        "address": [str(prefix) for prefix in tunnel.addresses],
        "paths": [asdict(path) for path in paths],
    }


def server_figures(tunnel: ServerTunnel) -> dict[str, Any]:
    """The clients of a server and their paths."""
    clients = [
        {
            "user": client.user,
            "address": [str(prefix) for prefix in client.addresses],
            "paths": [asdict(path) for path in path_figures(client.connection, {})],
        }
        for client in tunnel.clients
    ]
    return {"state": "up", "half_open": tunnel.half_open, "clients": clients}


def drop_figures(engine: Engine, *others: dict[int, int]) -> dict[str, int]:
    """Packets given up by reason, in the engine and the devices beside it; no reason with a count of 0."""
    counts = dict(enumerate(engine.drops()))
    for other in others:
        for reason, count in other.items():
            counts[reason] = counts.get(reason, 0) + count
    return {Drop(reason).name.lower(): count for reason, count in counts.items() if count}
