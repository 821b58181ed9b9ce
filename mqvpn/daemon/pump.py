"""Joins the compiled inner loop (dataplane.mover) to asyncio and to the tunnel.

asyncio waits for one epoll set of all packet descriptors, and for one timer. At each wake-up the mover moves packets
until it is quiet or the engine has something to tell; then the tunnel hears of it. Nothing here looks at a packet.
"""

import asyncio
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from mqvpn.daemon.timerfd import Timer, clock
from mqvpn.dataplane.crypto import library
from mqvpn.dataplane.engine import OVERHEAD, Engine
from mqvpn.dataplane.mover import Mover
from mqvpn.dataplane.tun import Tun
from mqvpn.dataplane.udp import Bursts, Sockets
from mqvpn.system import tun as device
from mqvpn.system.offloads import GRO, GSO, USO, without
from mqvpn.tunnel.core import Tunnel

log = logging.getLogger(__name__)

ANY = ("::", 0)
WITH = {True: "with", False: "without"}
FOREVER = float("inf")
GAP = 3.0  # seconds that a timer fires too late, by which it is known that the machine or the process has slept


BURST_BYTES = 65000  # what the engine puts into one sendmsg
TCP_HEADERS = 52  # IPv4 and TCP with time stamps
KERNEL_HEADERS = 330  # that the kernel reserves in a super packet before it counts segments


def gso_max_size(mtu: int) -> int:
    """The largest super packet whose segments all fit into one burst: a few more would cost a second sendmsg."""
    segments = BURST_BYTES // (mtu + OVERHEAD)
    return segments * (mtu - TCP_HEADERS) + KERNEL_HEADERS


def packets_of(tun: device.Tun) -> Tun:
    """How packets of this device are read and written; says in the log what is in use."""
    log.debug("%s: %s", tun.name, tun.describe())
    log.debug("packet protection by %s", library())
    uso = bool(tun.offloads & device.Offload.USO4) and USO not in without()
    return Tun(tun.fd, vnet_header=tun.vnet_header, uso=uso)


class DeviceGone(Exception):
    """The TUN device was removed under us."""


class Pump:
    """The packets' way. `on_event` gets the tunnel's events, `on_failure` what breaks the way for good. `on_gone` is
    called when the TUN device was deleted, and calls replace_tun(); without it that is a failure.

    `beat(on_beat, interval)` has on_beat called every so often, as long as the loop turns and only by it: systemd's
    watchdog is to notice when packets would no longer move, and not when there are none. `on_gap` is called with the
    seconds that the machine, or this process, has slept.
    """

    def __init__(
        self,
        engine: Engine,
        tun: Tun,
        tun_fd: int,
        on_event: Callable[[Any], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.tunnel: Tunnel | None = None
        self.on_gone: Callable[[], None] | None = None
        self.sockets = Sockets()
        self.tun = tun
        self._engine = engine
        self._tun_fd = tun_fd
        self._on_event = on_event
        self._on_failure = on_failure
        self._bursts = Bursts()
        self._timer = Timer()
        self.on_gap: Callable[[float], None] = lambda slept: None
        self._loop = asyncio.get_running_loop()
        self._fds: dict[int, int] = {}
        self._failed = False
        self._epoll = select.epoll()
        self._mover = Mover(engine, tun, self.sockets, self._epoll.fileno())
        self._tunnel_due = FOREVER
        self._on_beat: Callable[[], None] = lambda: None
        self._beat_interval = self._beat_due = FOREVER

    def beat(self, on_beat: Callable[[], None], interval: float) -> None:
        """Call on_beat now and every `interval` seconds."""
        self._on_beat, self._beat_interval, self._beat_due = on_beat, interval, clock()
        self._arm()

    def start(self) -> None:
        self._epoll.register(self._tun_fd, select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), self._wake_up)
        self._loop.add_reader(self._timer.fileno(), self._wake_up)

    def replace_tun(self, tun: Tun, tun_fd: int) -> None:
        """Go on with this device; the one before is not used any more, and may be closed then."""
        self._epoll.unregister(self._tun_fd)
        self.tun, self._tun_fd = tun, tun_fd
        self._mover = Mover(self._engine, tun, self.sockets, self._epoll.fileno())
        self._mover.watch(self._fds)
        self._epoll.register(tun_fd, select.EPOLLIN)

    def close(self) -> None:
        """Stop watching; descriptors given to us stay open."""
        for number in list(self._fds):
            self.remove_socket(number)
        self._loop.remove_reader(self._epoll.fileno())
        self._loop.remove_reader(self._timer.fileno())
        self._epoll.close()
        self._timer.close()

    def add_socket(self, number: int, udp: socket.socket) -> None:
        leave = without()
        self.sockets.add(number, udp.fileno(), udp.family, GSO not in leave, GRO not in leave)
        segment, gro = self.sockets.offloads()[number]
        log.debug("socket %d: %s UDP_SEGMENT, %s UDP_GRO", number, WITH[segment], WITH[gro])
        self._fds[number] = udp.fileno()
        self._epoll.register(udp.fileno(), select.EPOLLIN)
        self._mover.watch(self._fds)

    def remove_socket(self, number: int) -> None:
        """Forget a socket, before it is closed."""
        self._epoll.unregister(self._fds.pop(number))
        self._mover.watch(self._fds)
        self.sockets.remove(number)

    def wake(self, now: float) -> None:
        """Carry out what was asked of the tunnel or the engine from outside."""
        self._handle_events(now)
        self._mover.transmit(now)
        self._arm()

    def _wake_up(self) -> None:
        try:
            now = self._mover.run(self._tunnel_due)
            if self.tun.failed:
                self._device_gone()
            slept = self._timer.late(now)
            self._timer.due(now)
            if slept > GAP:
                self.on_gap(slept)
            due = now >= self._tunnel_due or slept > GAP
            if due and self.tunnel is not None:
                self.tunnel.handle_timeout(now)
            if due or self._engine.has_events():
                self._handle_events(now)
                self._mover.transmit(now)
            if now >= self._beat_due:
                self._beat_due = now + self._beat_interval
                self._on_beat()
            self._arm()
        except Exception as error:  # a bug, or the device is gone: the daemon ends with it, once
            if not self._failed:
                self._failed = True
                self._on_failure(error)

    def _device_gone(self) -> None:
        if self.on_gone is None:
            raise DeviceGone(f"the TUN device is gone ({os.strerror(self.tun.failed)})")
        self.on_gone()

    def _handle_events(self, now: float) -> None:
        tunnel = self.tunnel
        if tunnel is None:
            self._engine.events()
            return
        tunnel.handle_events(now)
        while ready := tunnel.short_headers():
            for packet in ready:
                self._mover.receive_one(packet, now)
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

    def _arm(self) -> None:
        """Set the timer for what comes first, the engine's or the tunnel's."""
        other = None if self.tunnel is None else self.tunnel.next_timeout()
        self._tunnel_due = FOREVER if other is None else other
        engine = self._engine.next_timeout()
        at = min(self._tunnel_due, FOREVER if engine is None else engine, self._beat_due)
        self._timer.arm(None if at == FOREVER else at)
