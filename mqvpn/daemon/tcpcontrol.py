"""The C mqvpn's control interface, [Control] Listen: one JSON object over TCP, one back, and the connection closes.

It is there for what was written for that program, such as its exporter, and only reads: TCP does not say who calls, so
whoever reaches the port sees the users' names and addresses, and must not be able to add one. For the same reason an
address that other machines reach is served only with Remote = true. Everything else goes over the control socket.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from mqvpn.daemon.accepting import Acceptor
from mqvpn.daemon.control import Pace
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.tasks import Tasks

MAX_REQUEST = 4096  # bytes
MAX_ANSWER = 128 * 1024
MAX_CONNECTIONS = 8
TIMEOUT = 5.0  # seconds, for the request and for the answer
CALLS = 5.0  # a second, for an answer may take 40 ms of the loop
BURST = 20
SHARED_KEY = "(global)"  # as the C mqvpn calls its users
LABELS = {"OPENING": "init", "VALIDATING": "validating", "PROVING": "validating", "ACTIVE": "active"}
READ_ONLY = "not over this interface, which knows nobody: edit [Auth] User and run mqvpnctl reload"

Answer = dict[str, Any]


class TcpControl:
    """Answers on a listening TCP socket (None: there is none) while it is entered; the socket stays the caller's."""

    def __init__(self, listening: socket.socket | None, status: ServerStatus) -> None:
        self._listening = listening
        self._status = status
        self._pace = Pace(CALLS, BURST)
        self._tasks = Tasks("control interface")

    def __enter__(self) -> Self:
        if self._listening is not None:
            self._tasks.start(self._accept(self._listening))
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        acceptor = Acceptor(listening, "control interface")
        while True:
            await self._pace.turn()
            connection = await acceptor.next()
            self._tasks.start(self._serve(connection, full=len(self._tasks) > MAX_CONNECTIONS))

    async def _serve(self, connection: socket.socket, *, full: bool) -> None:
        with connection, suppress(OSError, TimeoutError):
            connection.setblocking(False)
            if full:
                answer: Answer | None = _failed("too many connections")
            else:
                async with asyncio.timeout(TIMEOUT):
                    answer = await self._answer(connection)
            if answer is None:
                return
            data = json.dumps(answer).encode() + b"\n"
            if len(data) > MAX_ANSWER:
                data = json.dumps(_failed("response too large")).encode() + b"\n"
            async with asyncio.timeout(TIMEOUT):
                await asyncio.get_running_loop().sock_sendall(connection, data)

    async def _answer(self, connection: socket.socket) -> Answer | None:
        """Read the request, and answer it; None: the peer closed first."""
        buffer = b""
        while len(buffer) <= MAX_REQUEST:
            more = await asyncio.get_running_loop().sock_recv(connection, MAX_REQUEST)
            buffer += more
            request = _request(buffer)
            if request is not None or not more or b"\n" in more:
                return await answer(self._status, request or {}) if buffer else None
        return _failed("request too large")


async def answer(status: ServerStatus, request: Mapping[str, Any]) -> Answer:
    """The answer to one request."""
    match request.get("cmd"):
        case "get_status":
            return await get_status(status)
        case "get_stats":
            return get_stats(status)
        case "get_reorder_stats":
            return get_reorder_stats(status)
        case "list_users":
            return {"ok": True, "users": [user.name for user in status.settings.users]}
        case "get_build_info":
            told = status.head()
            return {"ok": True, "version": told["version"], "scheduler": status.settings.scheduler, "fec_enabled": 0}
        case "get_fec_stats" | "get_all_fec_stats":
            return _failed("fec not built")
        case "add_user" | "remove_user":
            return _failed(READ_ONLY)
        case str():
            return _failed("unknown cmd")
    return _failed("missing cmd")


async def get_status(status: ServerStatus) -> Answer:
    """Every client and its paths, packets having their turn between; no more than an answer may hold are looked at."""
    clients: list[Answer] = []
    after: int | None = -1
    size = 0
    while after is not None and size <= MAX_ANSWER:
        page, after = status.page(after)
        clients += [_client(one) for one in page]
        size += len(json.dumps(clients[-len(page) :])) if page else 0
        await asyncio.sleep(0)
    return {"ok": True, "n_clients": len(clients), "clients": clients}


def get_stats(status: ServerStatus) -> Answer:
    """Sums: bytes as the TUN counted them, packets of the clients that are connected now."""
    told = status()
    sent, received = status.packets()
    return {
        "ok": True,
        "n_clients": told["connected"],
        "bytes_tx": told["tun"].get("tx_bytes", 0),
        "bytes_rx": told["tun"].get("rx_bytes", 0),
        "dgram_sent": sent,
        "dgram_recv": received,
        "dgram_lost": told["drops"].get("datagram_lost", 0),
        "uptime_sec": told["uptime"],
    }


def get_reorder_stats(status: ServerStatus) -> Answer:
    """In the C mqvpn's terms, which has more ways to drop packets: 0 for those that are not here. The latency of all
    packets is 0 if less than one in a hundred waited."""
    found = status.reordering()
    none = ("gap_demote_count", "gap_reset_count", "too_late_drop_count", "too_far_ahead_drop_count")
    timeouts = found.gaps_expired + found.gaps_lost
    told = {
        "gap_count": found.gaps_filled + timeouts + found.gaps_overrun,
        "gap_filled_count": found.gaps_filled,
        "gap_timeout_count": timeouts,
        "gap_overflow_count": found.gaps_overrun,
        "ack_demote_count": found.flows_demoted,
        "duplicate_drop_count": found.duplicates,
        "reset_discard_count": found.discarded,
        "delivered_count": found.delivered,
        "added_latency_p99_ms": found.p99_ms if found.waited * 100 > found.numbered else 0.0,
        "added_latency_max_ms": found.longest_ms,
        "added_latency_buffered_p99_ms": found.p99_ms,
    }
    return {"ok": True, "reorder": told | dict.fromkeys((*none, "pool_drop_count", "per_flow_limit_drop_count"), 0)}


def _client(one: Mapping[str, Any]) -> Answer:
    return {
        "user": one["user"] or SHARED_KEY,
        "endpoint": one["paths"][0]["remote"] if one["paths"] else "",
        "connected_sec": one["connected"] or 0,
        "bytes_tx": one["traffic"]["tx_bytes"],
        "bytes_rx": one["traffic"]["rx_bytes"],
        "n_paths": len(one["paths"]),
        "paths": [_path(path) for path in one["paths"]],
    }


def _path(path: Mapping[str, Any]) -> Answer:
    label = "active" if path["state"] == "suspect" else LABELS.get(path["state"].upper(), "closing")
    return {
        "path_id": path["id"],
        "srtt_ms": round(path["rtt_ms"]),
        "min_rtt_ms": round(path["min_rtt_ms"]),
        "cwnd": path["cwnd"],
        "in_flight": path["in_flight"],
        "bytes_tx": path["tx_bytes"],
        "bytes_rx": path["rx_bytes"],
        "pkt_sent": path["tx_packets"],
        "pkt_recv": path["rx_packets"],
        "pkt_lost": path["lost"],
        "state": ("init", "validating", "active", "closing").index(label),
        "state_label": label,
    }


def _request(buffer: bytes) -> Mapping[str, Any] | None:
    """The request, if all of it is there."""
    try:
        request = json.loads(buffer)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else {}


def _failed(error: str) -> Answer:
    return {"ok": False, "error": error}
