"""`mqvpn --status --control-port PORT`: a server's clients over the C mqvpn's control interface, of either program."""

import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from mqvpn.cli.call import EX_FAILED, EX_UNAVAILABLE
from mqvpn.cli.tables import Column, duration, fit, percent, size, table, terminal_width
from mqvpn.config.values import HostPort

EX_WRONG_USAGE = 2
TIMEOUT = 5.0  # seconds
MAX_ANSWER = 1 << 20
COLUMNS = (
    Column("USER", "user"),
    Column("ENDPOINT", "endpoint"),
    Column("SINCE", "since", 2, right=True),
    Column("PATH", "id", right=True),
    Column("STATE", "state"),
    Column("RTT", "rtt", right=True),
    Column("LOSS", "loss", 1, right=True),
    Column("OUT", "out", 1, right=True),
    Column("IN", "in", 1, right=True),
)


def show(endpoint: str) -> int:
    """Ask the server at HOST:PORT and print its clients' paths. Returns the exit status."""
    try:
        where = HostPort.read(endpoint)
    except ValueError as error:
        return _fail(f"{endpoint}: {error}", EX_WRONG_USAGE)
    try:
        answer = _ask(where)
    except OSError as error:
        reason = error.strerror or "time is up"
        return _fail(f"{endpoint}: no server answers there: {reason}; is its [Control] Listen this?", EX_UNAVAILABLE)
    except ValueError:
        return _fail(f"{endpoint}: that is no control interface of mqvpn", EX_FAILED)
    if not answer.get("ok"):
        return _fail(f"{endpoint}: {answer.get('error')}", EX_FAILED)
    clients = answer.get("clients", [])
    print(f"{len(clients)} client{'' if len(clients) == 1 else 's'}")
    if clients:
        print("\n".join(table(COLUMNS, [row for client in clients for row in _rows(client)], terminal_width())))
    return os.EX_OK


def _ask(where: HostPort) -> Mapping[str, Any]:
    answer = b""
    with socket.create_connection((where.host, where.port), TIMEOUT) as connection:
        connection.sendall(b'{"cmd":"get_status"}\n')
        while (part := connection.recv(1 << 16)) and len(answer) < MAX_ANSWER:
            answer += part
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _rows(client: Mapping[str, Any]) -> list[dict[str, str]]:
    shown = {
        "user": str(client["user"]),
        "endpoint": str(client["endpoint"]),
        "since": duration(client["connected_sec"]),
    }
    rows = [
        shown
        | {
            "id": str(path["path_id"]),
            "state": str(path["state_label"]),
            "rtt": f"{path['srtt_ms']} ms",
            "loss": percent(path["pkt_lost"], path["pkt_sent"]),
            "out": size(path["bytes_tx"]),
            "in": size(path["bytes_rx"]),
        }
        for path in client["paths"]
    ]
    return rows or [shown | dict.fromkeys(("id", "state", "rtt", "loss", "out", "in"), "-")]


def _fail(text: str, status: int) -> int:
    print(fit(f"mqvpn: {text}", None), file=sys.stderr)
    return status
