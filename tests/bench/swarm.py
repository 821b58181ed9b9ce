"""Many clients in one process: the client's core and its pump, without TUN device, routes and uplinks.

Runs as a program inside a namespace: swarm.py ADDRESS PORT [AT-ONCE], with the key in the environment variable KEY; at
most so many connect at a time. Each number on standard input asks for so many clients in all; it is repeated on
standard output when they are up.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from typing import Any

from mqvpn.daemon.pump import Pump
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.tun import Tun
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.system.sockets import open_path_socket
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.events import Closed, TunnelUp
from mqvpn.tunnel.options import ClientOptions
from mqvpn.tunnel.paths import Uplink

DESCRIPTORS = 16384
AT_ONCE = 16  # handshakes under way
IDLE_TIMEOUT = 60.0


class MemberPump(Pump):
    """A pump among many in one loop: it moves what is there and returns. One that waits for more packets, as a daemon's
    does, keeps all the others from theirs for up to pump.SLICE at each wake-up."""

    def _free_until(self, now: float) -> float:
        return now


class Member:
    """One client; `up` is done when it has its addresses."""

    def __init__(self, server: tuple[str, int], key: bytes, tun: Tun) -> None:
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        engine = Engine(is_server=False)
        # A pipe of its own: the kernel refuses a file that can wake more than 500 chains of epolls (EINVAL).
        no_tun, self._keeps_it_open = os.pipe()
        os.set_blocking(no_tun, False)
        self._pump = MemberPump(engine, tun, no_tun, self._on_event, self._on_failure)
        self._socket = open_path_socket(None, None)
        self._pump.add_socket(0, self._socket)
        options = ClientOptions(host=server[0], port=server[1], key=key)
        settings = quic_configuration(is_client=True, idle_timeout=IDLE_TIMEOUT, server_name=None, verify=False)
        self._pump.tunnel = tunnel = ClientTunnel(engine, options, settings)
        now = clock()
        self._pump.start()
        tunnel.handle_link("", (Uplink("", 0, server),), now)
        tunnel.handle_timeout(now)
        self._pump.wake(now)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, TunnelUp) and not self.up.done():
            self.up.set_result(None)
        elif isinstance(event, Closed):
            self._on_failure(ConnectionError(event.reason))

    def _on_failure(self, error: Exception) -> None:
        if self.up.done():
            sys.exit(f"swarm: a client ended: {error}")
        self.up.set_exception(error)


async def main(address: str, port: int, key: bytes, at_once: int) -> None:
    """Serve standard input until it ends."""
    # Never read, so one serves all: what a Tun keeps for its largest packet is only there for some hundred of them.
    tun = Tun(os.open(os.devnull, os.O_RDWR))
    turn = asyncio.Semaphore(at_once)
    members: list[Member] = []

    async def one_more() -> None:
        async with turn:
            members.append(Member((address, port), key, tun))
            await members[-1].up

    while line := await asyncio.to_thread(sys.stdin.readline):
        await asyncio.gather(*(one_more() for _ in range(int(line) - len(members))))
        print(len(members), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    where, number, *limit = sys.argv[1:]
    asyncio.run(main(where, int(number), os.environ["KEY"].encode(), int(limit[0]) if limit else AT_ONCE))
