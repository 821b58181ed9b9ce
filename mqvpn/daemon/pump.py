"""Moves packets: TUN device and UDP sockets on one side, engine and tunnel on the other, in bounded turns.

TUN readable   up to 32 reads -> Engine.from_tun() -> Engine.transmit() -> Sockets.send()
UDP readable   one batch of up to 8 x 64 KB -> Engine.receive() -> Tun.write() -> what the tunnel has to say
timer          both timers that are due

Nothing here looks at a packet. `now` is read once for each wake-up.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from mqvpn.daemon.timerfd import Timer, clock
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.tun import Tun
from mqvpn.dataplane.udp import Bursts, Datagrams, Sockets
from mqvpn.tunnel.core import Tunnel

log = logging.getLogger(__name__)

READS = 32  # reads of the TUN device in one turn
BURSTS = 32  # rounds of Engine.transmit() in one turn; each fills at most 8 x 64 KB
ANY = ("::", 0)


class DeviceGone(Exception):
    """The TUN device was removed under us."""


class Pump:
    """The packets' way. `on_event` gets the tunnel's events, `on_failure` what breaks the way for good."""

    def __init__(
        self,
        engine: Engine,
        tun: Tun,
        tun_fd: int,
        on_event: Callable[[Any], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.tunnel: Tunnel | None = None
        self.sockets = Sockets()
        self.tun = tun
        self._engine = engine
        self._tun_fd = tun_fd
        self._on_event = on_event
        self._on_failure = on_failure
        self._batch = PacketBatch()
        self._refs = PacketRefs()
        self._datagrams = Datagrams()
        self._bursts = Bursts()
        self._timer = Timer()
        self._loop = asyncio.get_running_loop()
        self._fds: dict[int, int] = {}
        self._failed = False

    def start(self) -> None:
        self._loop.add_reader(self._tun_fd, self._guard, self._tun_readable)
        self._loop.add_reader(self._timer.fileno(), self._guard, self._timer_fired)

    def close(self) -> None:
        """Stop watching; descriptors given to us stay open."""
        for number in list(self._fds):
            self.remove_socket(number)
        self._loop.remove_reader(self._tun_fd)
        self._loop.remove_reader(self._timer.fileno())
        self._timer.close()

    def add_socket(self, number: int, udp: socket.socket) -> None:
        self.sockets.add(number, udp.fileno(), udp.family)
        self._fds[number] = udp.fileno()
        self._loop.add_reader(udp.fileno(), self._guard, self._udp_readable, number)

    def remove_socket(self, number: int) -> None:
        """Forget a socket, before it is closed."""
        self._loop.remove_reader(self._fds.pop(number))
        self.sockets.remove(number)

    def wake(self, now: float) -> None:
        """Carry out what was asked of the tunnel or the engine from outside."""
        self._handle_events(now)
        self._transmit(now)
        self._arm()

    def _guard(self, turn: Callable[..., None], *arguments: int) -> None:
        try:
            turn(*arguments)
        except Exception as error:  # a bug, or the device is gone: the daemon ends with it, once
            if not self._failed:
                self._failed = True
                self._on_failure(error)

    def _tun_readable(self) -> None:
        now = clock()
        if self.tun.read(self._batch, now, READS):
            self._engine.from_tun(self._batch, now)
            self._batch.clear()
        elif self.tun.failed:
            raise DeviceGone(f"the TUN device is gone ({os.strerror(self.tun.failed)})")
        self.wake(now)

    def _udp_readable(self, number: int) -> None:
        now = clock()
        if self.sockets.receive(number, self._datagrams):
            self._engine.receive(self._datagrams, self._refs, now)
            self.tun.write(self._refs)
        self.wake(now)

    def _timer_fired(self) -> None:
        self._timer.clear()
        now = clock()
        at = self._engine.next_timeout()
        if at is not None and at <= now:
            self._engine.timeout(now)
        if self.tunnel is not None:
            self.tunnel.handle_timeout(now)
        self.wake(now)

    def _handle_events(self, now: float) -> None:
        tunnel = self.tunnel
        if tunnel is None:
            self._engine.events()
            return
        tunnel.handle_events(now)
        while ready := tunnel.short_headers():
            for packet in ready:
                self._engine.receive_one(*packet, self._refs, now)
                self.tun.write(self._refs)
            tunnel.handle_events(now)
        for error in tunnel.packets():
            self.tun.write_packet(error)
        self._send(tunnel.datagrams())
        for event in tunnel.poll():
            self._on_event(event)

    def _send(self, datagrams: list[Any]) -> None:
        for number, remote, local, data in datagrams:
            self._bursts.append(number, remote, local or ANY, data)
            self.sockets.send(self._bursts)

    def _transmit(self, now: float) -> None:
        for _ in range(BURSTS):
            if not self._engine.transmit(self._bursts, now):
                return
            self.sockets.send(self._bursts)

    def _arm(self) -> None:
        at = self._engine.next_timeout()
        if self.tunnel is not None:
            other = self.tunnel.next_timeout()
            if at is None or (other is not None and other < at):
                at = other
        self._timer.arm(at)
