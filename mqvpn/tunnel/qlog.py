"""What happens to connections, as qlog events (draft-ietf-quic-qlog-main-schema-02, qlog version 0.3).

A Trace is one connection: its handshake packets as aioquic sees them, its paths, and samples of each path's recovery.
Behind the handshake one record of a sample stands for all packets of a path since the sample before. Events of one
path have a group_id, by which qvis tells paths apart; those of the whole connection go with path 0. Times are seconds
of the tunnel's clock; whoever writes a file knows what that is by the wall clock. No token and no key is in a record.
"""

import json
from dataclasses import dataclass
from typing import Any

from mqvpn.dataplane.engine import PathStats
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.multipath.events import PathAbandoned
from mqvpn.multipath.path import Path
from mqvpn.multipath.seam import ConnectionTerminated, HandshakeCompleted
from mqvpn.multipath.trace import HandshakeTrace, without_secrets

MAX_TRACES = 256  # connections at a time; further ones leave none
MAX_RECORDS = 256  # of one connection between two calls of Recorder.take(); further ones are only counted
MILLISECONDS = 1000
BITS = 8


@dataclass(frozen=True, slots=True)
class Record:
    """An event at `time`, seconds of the tunnel's clock."""

    time: float
    path_id: int
    name: str
    data: dict[str, Any]


@dataclass(slots=True)
class Seen:
    """A path as the last records tell it."""

    state: str = ""
    address: Any = None
    mtu: int = 0
    suspect: bool = False


class Trace:
    """One connection's records."""

    def __init__(self, connection: MultipathConnection) -> None:
        self.is_client = connection.is_client
        self.odcid = connection.original_destination_connection_id.hex()
        self.start: float | None = None  # time of the first record
        self.left_out = 0
        self._connection = connection
        self._records: list[Record] = []
        self._unstamped: list[tuple[int, str, dict[str, Any]]] = []
        self._paths: dict[int, Seen] = {}
        self._metrics: dict[int, dict[str, float]] = {}
        self._traffic: dict[tuple[int, str], tuple[int, int]] = {}  # packets and bytes so far, by path and event
        self._started = False
        odcid = connection.original_destination_connection_id
        connection.log_handshake(HandshakeTrace(self._note, is_client=self.is_client, odcid=odcid))

    def take(self) -> list[Record]:
        """The records since the last call, oldest first."""
        records, self._records = self._records, []
        if self.left_out and records:
            text = f"{self.left_out} events left out"
            records.append(Record(records[-1].time, 0, "loglevel:warning", {"message": text}))
            self.left_out = 0
        return records

    def handle_event(self, event: Any) -> None:
        """Note an event of the connection's."""
        match event:
            case HandshakeCompleted(alpn_protocol=alpn):
                self._note("transport:alpn_information", {"chosen_alpn": alpn})
                self._note("multipath:negotiated", {"enabled": self._connection.multipath})
            case PathAbandoned(path_id=path_id, error_code=code, by_peer=by_peer):
                owner = "remote" if by_peer else "local"
                self._note("multipath:path_abandoned", {"owner": owner, "error_code": code}, path_id)
            case ConnectionTerminated(error_code=code, frame_type=frame_type, reason_phrase=reason):
                kind = "application_code" if frame_type is None else "connection_code"
                owner = "remote" if self._connection.is_draining else "local"
                self._note("connectivity:connection_closed", {"owner": owner, kind: code, "reason": reason})

    def handle_key_phase(self, generation: int) -> None:
        """The connection's packets are protected by this generation of keys from now on."""
        for key_type in ("client_1rtt_secret", "server_1rtt_secret"):
            self._note("security:key_updated", {"key_type": key_type, "generation": generation})

    def observe(self, now: float) -> None:
        """Find what changed, and give everything noted since the last call its time."""
        self._observe_start()
        if self._observe_paths():
            self._measure()
        self.stamp(now)

    def sample(self, now: float) -> None:
        """Measure every path; what is as before leaves no record."""
        self._measure()
        self.stamp(now)

    def stamp(self, now: float) -> None:
        """Give everything noted since the last call its time."""
        if self.start is None and self._unstamped:
            self.start = now
        for path_id, name, data in self._unstamped:
            self._records.append(Record(now, path_id, name, without_secrets(data)))
        self._unstamped.clear()

    def _note(self, name: str, data: dict[str, Any], path_id: int = 0) -> None:
        if len(self._records) + len(self._unstamped) < MAX_RECORDS:
            self._unstamped.append((path_id, name, data))
        else:
            self.left_out += 1

    def _observe_start(self) -> None:
        address = self._connection.handshake_address
        if not self._started and address is not None:
            self._started = True
            data: dict[str, Any] = {"protocol": "QUIC", "dst_ip": address.remote[0], "dst_port": address.remote[1]}
            if address.local is not None:
                data |= {"src_ip": address.local[0], "src_port": address.local[1]}
            self._unstamped.insert(0, (0, "connectivity:connection_started", data))

    def _observe_paths(self) -> bool:
        table = self._connection.paths
        changed = [self._observe_path(path) for path in table.values()]
        for path_id in self._paths.keys() - table.keys():
            old = self._paths.pop(path_id).state
            self._metrics.pop(path_id, None)
            self._traffic = {key: value for key, value in self._traffic.items() if key[0] != path_id}
            self._note("multipath:path_state_updated", {"old": old, "new": "closed"}, path_id)
        return any(changed)

    def _observe_path(self, path: Path) -> bool:
        seen = self._paths.setdefault(path.path_id, Seen())
        now = Seen(path.state.name.lower(), path.address, path.mtu, path.is_suspect)
        if now == seen:
            return False
        self._paths[path.path_id] = now
        if now.address != seen.address:
            self._note("connectivity:path_assigned", _endpoints(path), path.path_id)
        if now.state != seen.state:
            states = {"old": seen.state, "new": now.state} if seen.state else {"new": now.state}
            self._note("multipath:path_state_updated", states, path.path_id)
        if now.mtu != seen.mtu:
            self._note("connectivity:mtu_updated", {"old": seen.mtu, "new": now.mtu}, path.path_id)
        if now.suspect != seen.suspect:
            self._note(f"multipath:path_{'suspect' if now.suspect else 'alive'}", {}, path.path_id)
        return True

    def _measure(self) -> None:
        if self._connection.terminated:
            return
        for path_id in self._connection.engine_connection.path_ids():
            stats = self._connection.engine_connection.path(path_id)
            self._sum_up(path_id, "transport:packet_sent", stats.tx_packets, stats.tx_bytes)
            self._sum_up(path_id, "transport:packet_received", stats.rx_packets, stats.rx_bytes)
            fresh = _figures(stats)
            before = self._metrics.get(path_id, {})
            changed = {name: value for name, value in fresh.items() if before.get(name) != value}
            if changed:
                self._metrics[path_id] = fresh
                self._note("recovery:metrics_updated", changed, path_id)

    def _sum_up(self, path_id: int, name: str, packets: int, size: int) -> None:
        """One record for the 1-RTT packets since the last, so without a packet number: qvis draws no more time than it
        has packets for."""
        known = self._traffic.get((path_id, name), (0, 0))
        if packets > known[0]:
            self._traffic[path_id, name] = packets, size
            data = {
                "header": {"packet_type": "1RTT"},
                "raw": {"length": size - known[1]},
                "packets": packets - known[0],
            }
            self._note(name, data, path_id)


class Recorder:
    """The traces of a tunnel's connections; the tunnel tells it what happens to them."""

    def __init__(self) -> None:
        self._traces: dict[MultipathConnection, Trace] = {}
        self._ended: list[Trace] = []
        self._closed = False

    def close(self) -> None:
        """Forget everything, and note nothing any more."""
        self._closed = True
        self._traces.clear()
        self._ended.clear()

    def add(self, connection: MultipathConnection) -> None:
        """Begin a connection's trace, before anything happened to it."""
        if not self._closed and len(self._traces) + len(self._ended) < MAX_TRACES:
            self._traces[connection] = Trace(connection)

    def handle_event(self, connection: MultipathConnection, event: Any) -> None:
        if trace := self._traces.get(connection):
            trace.handle_event(event)

    def handle_key_phase(self, connection: MultipathConnection, generation: int) -> None:
        if trace := self._traces.get(connection):
            trace.handle_key_phase(generation)

    def observe(self, connection: MultipathConnection, now: float) -> None:
        """Look at a connection that something happened to; what was noted happened at `now`."""
        if trace := self._traces.get(connection):
            trace.observe(now)

    def remove(self, connection: MultipathConnection) -> None:
        """The connection is gone. One whose peer never proved to be one leaves no trace on a server."""
        trace = self._traces.pop(connection, None)
        if trace is not None and (trace.is_client or connection.handshake_started):
            self._ended.append(trace)

    def sample(self, now: float) -> None:
        """Measure every path of every connection."""
        for trace in self._traces.values():
            trace.sample(now)
        for trace in self._ended:
            trace.stamp(now)

    def take(self) -> list[tuple[Trace, list[Record]]]:
        """What is new, by trace; call sample() before."""
        traces, self._ended = [*self._ended, *self._traces.values()], []
        return [(trace, records) for trace in traces if (records := trace.take())]


def header(trace: Trace, wall: float) -> bytes:
    """The first record of a file. `wall`: the wall clock, seconds since 1970, when the tunnel's clock was 0."""
    start = 0.0 if trace.start is None else trace.start
    common = {
        "ODCID": trace.odcid,
        "protocol_type": ["QUIC"],
        "time_format": "relative",
        "reference_time": round((wall + start) * MILLISECONDS, 3),
    }
    vantage_point = {"name": "mqvpn", "type": "client" if trace.is_client else "server"}
    return _text(
        {
            "qlog_version": "0.3",
            "qlog_format": "JSON-SEQ",
            "title": "mqvpn",
            "trace": {"vantage_point": vantage_point, "common_fields": common},
        }
    )


def encode(trace: Trace, record: Record) -> bytes:
    """One event of a file."""
    start = 0.0 if trace.start is None else trace.start
    return _text(
        {
            "time": round((record.time - start) * MILLISECONDS, 3),
            "name": record.name,
            "group_id": f"path {record.path_id}",
            "data": record.data,
        }
    )


def _text(value: dict[str, Any]) -> bytes:
    """A record of a JSON text sequence (RFC 7464, section 2.2)."""
    return b"\x1e" + json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _endpoints(path: Path) -> dict[str, Any]:
    ends: dict[str, Any] = {"path_remote": {"ip": path.remote[0], "port": path.remote[1]}}
    if path.local is not None:
        ends["path_local"] = {"ip": path.local[0], "port": path.local[1]}
    return ends


def _figures(stats: PathStats) -> dict[str, float]:
    figures: dict[str, float] = {
        "congestion_window": stats.cwnd,
        "bytes_in_flight": stats.in_flight,
        "pacing_rate": round(stats.pacing_rate * BITS),
        "delivery_rate": round(stats.delivery_rate * BITS),
        "lost_packets": stats.lost,
    }
    if stats.srtt:
        figures |= {
            "smoothed_rtt": round(stats.srtt * MILLISECONDS, 3),
            "min_rtt": round(stats.min_rtt * MILLISECONDS, 3),
            "latest_rtt": round(stats.latest_rtt * MILLISECONDS, 3),
            "rtt_variance": round(stats.rttvar * MILLISECONDS, 3),
        }
    return figures
