"""Control sockets that answer as daemons do, in a thread of their own; and a systemctl that knows some units."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mqvpn.daemon.control import CallFailed, Control, Method
from mqvpn.system.unixsocket import open_listener

PATH = {
    "id": 0,
    "interface": "eth0",
    "remote": "198.51.100.1:443",
    "state": "active",
    "usable": True,
    "backup": False,
    "rtt_ms": 12.345,
    "rtt_var_ms": 1.0,
    "min_rtt_ms": 11.0,
    "cwnd": 140_000,
    "in_flight": 0,
    "delivery_rate": 12_500_000,
    "mtu": 1452,
    "tx_bytes": 1_200_000,
    "rx_bytes": 34_000_000,
    "tx_packets": 1000,
    "rx_packets": 30_000,
    "lost": 5,
}
TRAFFIC = {"tx_packets": 900, "tx_bytes": 1_000_000, "rx_packets": 29_000, "rx_bytes": 33_000_000}
HEAD = {"schema": 1, "version": "1.2.3", "pid": 4, "uptime": 4000, "tun": {}, "drops": {"no_route": 2}}
REORDERING = {
    "numbered": 20_000,
    "waited": 500,
    "waiting": 0,
    "late": 3,
    "duplicates": 0,
    "no_room": 0,
    "discarded": 0,
    "gaps_filled": 40,
    "gaps_lost": 2,
    "gaps_expired": 0,
    "gaps_overrun": 0,
    "flows_demoted": 0,
    "longest_ms": 31.25,
    "p99_ms": 16.0,
}
CLIENT = HEAD | {
    "role": "client",
    "instance": "home",
    "state": "up",
    "interface": "mq0",
    "address": ["10.77.0.2/32", "fd77::2/128"],
    "paths": [PATH],
    "traffic": TRAFFIC,
    "reordering": REORDERING,
    "server": {"name": "vpn.example:443", "address": "198.51.100.1:443"},
    "servers": [
        {"name": "near.example:443", "current": False, "failure": "no answer from 192.0.2.9:443"},
        {"name": "vpn.example:443", "current": True, "failure": None},
        {"name": "far.example:443", "current": False, "failure": None},
    ],
    "routes": [
        {"prefix": "0.0.0.0/0", "goes": "tunnel", "why": "Routes = default"},
        {"prefix": "::/0", "goes": "nowhere", "why": "the tunnel carries no IPv6"},
        {"prefix": "192.0.2.0/24", "goes": "past", "why": "Exclude"},
        *({"prefix": f"10.0.{n}.0/24", "goes": "ignored", "why": "advertised, but n"} for n in range(20)),
    ],
    "up": 3700,
    "mtu": 1368,
    "attempts": 0,
    "next_attempt": None,
    "last_close": None,
    "interfaces": [
        {"name": "eth0", "path": True, "reason": None, "cap": None, "used": None, "period": None},
        {"name": "wwan0", "path": False, "reason": "does not answer", "cap": 5e9, "used": 1.2e9, "period": "month"},
    ],
}
SERVER = HEAD | {
    "role": "server",
    "instance": "server",
    "state": "up",
    "interface": "mqs0",
    "tun": {"rx_packets": 1, "rx_bytes": 1000, "tx_packets": 2, "tx_bytes": 2000, "tx_dropped": 7},
    "listen": "[::]:443",
    "connected": 1,
    "half_open": 0,
    "max_clients": 64,
    "served": 3,
    "refused": {"403": 2},
    "internal_errors": 0,
}
LISTED = {
    "number": 5,
    "user": "alice",
    "address": ["10.77.0.2/32"],
    "connected": 90,
    "paths": [PATH | {"interface": ""}],
    "traffic": TRAFFIC,
    "reordering": REORDERING,
}


def methods(status: Mapping[str, Any], **more: Method) -> dict[str, Method]:
    told = dict(status)
    about = {"schema": 1, "role": told["role"], "version": told["version"]}
    found = {"Status": Method(lambda _: told), "Version": Method(lambda _: about), **more}
    return {f"mqvpn.Control.{name}": method for name, method in found.items()}


def pages(parameters: dict[str, Any]) -> dict[str, Any]:
    """Three clients, two in a page."""
    numbers = [number for number in (5, 6, 7) if number > parameters["after"]]
    shown = [LISTED | {"number": number} for number in numbers[:2]]
    return {"schema": 1, "clients": shown, "next": numbers[1] if len(numbers) > 2 else None}


def refuse(_: Any) -> dict[str, Any]:
    raise CallFailed("ReloadFailed", reason="client-home.conf:3: [Interface] MTU: write a number")


@contextmanager
def answering(sockets: Mapping[Path, Mapping[str, Method]]) -> Iterator[None]:
    """Answer on these sockets while the block lasts."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        opened = [open_listener(path) for path in sockets]
        controls = [Control(one, of) for one, of in zip(opened, sockets.values(), strict=True)]
        for control in controls:
            control.__enter__()
        ready.set()
        await stop.wait()
        for control, listener in zip(controls, opened, strict=True):
            control.__exit__()
            listener.close()
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(5)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


def write_systemctl(folder: Path, states: Mapping[str, str], status: int = 0) -> Path:
    """A program `systemctl` in `folder`: shows these states by unit, and notes all it is asked in systemctl.log."""
    blocks = "\\n".join(f"Id={unit}\\nActiveState={state}\\n" for unit, state in states.items())
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/systemctl.log\ncase "$1" in show) printf "{blocks}";; esac\nexit {status}\n'
    )
    program.chmod(0o755)
    return folder / "systemctl.log"
