"""A tunnel in figures, as plain values for the control socket, status lines and the statistics file."""

from dataclasses import asdict, dataclass
from typing import Any

from mqvpn.dataplane.engine import Engine
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.reordering import reordering
from mqvpn.tunnel.roster import Client
from mqvpn.wire.drop import Drop


@dataclass(frozen=True, slots=True)
class PathFigures:
    """One path: milliseconds, bytes and packets since it was opened; delivery_rate in bytes per second."""

    id: int
    interface: str
    remote: str
    state: str
    usable: bool
    backup: bool
    rtt_ms: float
    rtt_var_ms: float
    min_rtt_ms: float
    cwnd: int
    in_flight: int
    delivery_rate: int
    mtu: int
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int
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
                id=path_id,
                interface=interfaces.get(path_id, ""),
                remote=endpoint_text(path.remote),
                state=state,
                usable=now.usable and not now.suspect,
                backup=path.backup or path.peer_backup,
                rtt_ms=round(now.srtt * 1000, 3),
                rtt_var_ms=round(now.rttvar * 1000, 3),
                min_rtt_ms=round(now.min_rtt * 1000, 3),
                cwnd=now.cwnd,
                in_flight=now.in_flight,
                delivery_rate=round(now.delivery_rate),
                mtu=now.mtu,
                tx_bytes=now.tx_bytes,
                rx_bytes=now.rx_bytes,
                tx_packets=now.tx_packets,
                rx_packets=now.rx_packets,
                lost=now.lost,
            )
        )
    return figures


def endpoint_text(endpoint: tuple[str, int]) -> str:
    """Address and port as they are written: 192.0.2.1:443, [2001:db8::1]:443."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def traffic_figures(connection: MultipathConnection | None) -> dict[str, int]:
    """IP packets and bytes that went through a tunnel, from the side that asks."""
    if connection is None or connection.terminated:
        return {"tx_packets": 0, "tx_bytes": 0, "rx_packets": 0, "rx_bytes": 0}
    sent, sent_bytes, received, received_bytes = connection.engine_connection.counters()
    return {"tx_packets": sent, "tx_bytes": sent_bytes, "rx_packets": received, "rx_bytes": received_bytes}


def client_figures(tunnel: ClientTunnel) -> dict[str, Any]:
    """State, inner addresses and paths of a client."""
    connection = tunnel.connection
    paths = [] if connection is None else path_figures(connection, tunnel.interfaces())
    return {
        "state": tunnel.state.value,
        "address": [str(prefix) for prefix in tunnel.addresses],
        "paths": [asdict(path) for path in paths],
        "traffic": traffic_figures(connection),
        "reordering": reordering([connection])._asdict(),
    }


def server_client_figures(client: Client) -> dict[str, Any]:
    """One client of a server, and its paths."""
    return {
        "number": client.number,
        "user": client.user,
        "address": [str(prefix) for prefix in client.addresses],
        "paths": [asdict(path) for path in path_figures(client.connection, {})],
        "traffic": traffic_figures(client.connection),
        "reordering": reordering([client.connection])._asdict(),
    }


def drop_figures(engine: Engine, *others: dict[int, int]) -> dict[str, int]:
    """Packets given up by reason, in the engine and the devices beside it; no reason with a count of 0."""
    counts = dict(enumerate(engine.drops()))
    for other in others:
        for reason, count in other.items():
            counts[reason] = counts.get(reason, 0) + count
    return {Drop(reason).name.lower(): count for reason, count in counts.items() if count}
