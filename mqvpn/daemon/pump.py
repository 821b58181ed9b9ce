"""Moves packets: TUN device and UDP sockets on one side, engine and tunnel on the other, in bounded turns.

from the TUN   up to 32 reads -> Engine.from_tun() -> Engine.transmit() -> Sockets.send()
from UDP       one batch of up to 8 x 64 KB -> Engine.receive() -> Tun.write() -> what the tunnel has to say
timer          both timers that are due

All descriptors stand in one epoll set, which is what asyncio waits for: a wake-up of asyncio costs as much
as moving ten packets, so each one serves both directions in turn until neither has work, or others must have
theirs.
Nothing here looks at a packet.
"""

import asyncio
import logging
import os
import select
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
TURNS = 8  # turns in one wake-up; then asyncio's other tasks run
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
        self._epoll = select.epoll()

    def start(self) -> None:
        self._epoll.register(self._tun_fd, select.EPOLLIN)
        self._epoll.register(self._timer.fileno(), select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), self._wake_up)

    def close(self) -> None:
        """Stop watching; descriptors given to us stay open."""
        for number in list(self._fds):
            self.remove_socket(number)
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._timer.close()

    def add_socket(self, number: int, udp: socket.socket) -> None:
        self.sockets.add(number, udp.fileno(), udp.family)
        self._fds[number] = udp.fileno()
        self._epoll.register(udp.fileno(), select.EPOLLIN)

    def remove_socket(self, number: int) -> None:
        """Forget a socket, before it is closed."""
        self._epoll.unregister(self._fds.pop(number))
        self.sockets.remove(number)

    def wake(self, now: float) -> None:
        """Carry out what was asked of the tunnel or the engine from outside."""
        self._handle_events(now)
        self._transmit(now)
        self._arm()

    def _wake_up(self) -> None:
        try:
            for _ in range(TURNS):
                if not self._turn(clock()):
                    break
            self._arm()
        except Exception as error:  # a bug, or the device is gone: the daemon ends with it, once
            if not self._failed:
                self._failed = True
                self._on_failure(error)

    def _turn(self, now: float) -> bool:
        """Both directions and the timers once; whether there was anything to do."""
        busy = self._from_tun(now)
        for number in self._fds:
            busy = self._from_udp(number, now) or busy
        busy = self._fire(now) or busy
        if self._engine.has_events():
            self._handle_events(now)
        self._transmit(now)
        return busy

    def _from_tun(self, now: float) -> bool:
        if self.tun.read(self._batch, now, READS):
            self._engine.from_tun(self._batch, now)
            return True
        if self.tun.failed:
            raise DeviceGone(f"the TUN device is gone ({os.strerror(self.tun.failed)})")
        return False

    def _from_udp(self, number: int, now: float) -> bool:
        if not self.sockets.receive(number, self._datagrams):
            return False
        self._engine.receive(self._datagrams, self._refs, now)
        self.tun.write(self._refs)
        return True

    def _fire(self, now: float) -> bool:
        """Let the timers fire that are due."""
        if not self._timer.due(now):
            return False
        self._engine.timeout(now)
        if self.tunnel is not None:
            self.tunnel.handle_timeout(now)
            self._handle_events(now)
        return True

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
