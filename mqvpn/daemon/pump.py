"""Joins the compiled inner loop (dataplane.mover) to asyncio and to the tunnel.

asyncio waits for one epoll set of all packet descriptors, for the engine's timer and for the tunnel's. At each wake-up
the mover moves packets until it is quiet, the engine has something to tell or asyncio something to do (loop.py); then
the tunnel hears of it. Nothing here looks at a packet.
"""

import asyncio
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from mqvpn.daemon.loop import PacketLoop
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
SLICE = 0.030  # seconds that packets may be moved for before the other tasks of an ordinary loop have their turn
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
        self._timer, self._engine_timer = Timer(), Timer()
        self.on_gap: Callable[[float], None] = lambda slept: None
        self._loop = asyncio.get_running_loop()
        self._fds: dict[int, int] = {}
        self._failed = False
        self._epoll = select.epoll()
        self._selector = self._loop.selector if isinstance(self._loop, PacketLoop) else None
        self._mover = self._new_mover()
        self._tunnel_due = FOREVER
        self._on_beat: Callable[[], None] = lambda: None
        self._beat_interval = self._beat_due = FOREVER

    def beat(self, on_beat: Callable[[], None], interval: float) -> None:
        """Call on_beat now and every `interval` seconds."""
        self._on_beat, self._beat_interval, self._beat_due = on_beat, interval, clock()
        self._arm()

    def start(self) -> None:
        """Move packets from now on, whenever the loop has its turn."""
        self._epoll.register(self._tun_fd, select.EPOLLIN)
        if self._selector is not None:
            self._epoll.register(self._selector.fileno(), select.EPOLLIN)
        for opened in (self._epoll, self._engine_timer):
            if self._selector is None:
                self._loop.add_reader(opened.fileno(), self._wake_up)
            else:
                self._selector.watch(opened.fileno(), self._wake_up)
        self._loop.add_reader(self._timer.fileno(), self._wake_up)

    def replace_tun(self, tun: Tun, tun_fd: int) -> None:
        """Go on with this device; the one before is not used any more, and may be closed then."""
        self._epoll.unregister(self._tun_fd)
        self.tun, self._tun_fd = tun, tun_fd
        self._mover = self._new_mover()
        self._epoll.register(tun_fd, select.EPOLLIN)

    def _new_mover(self) -> Mover:
        others = -1 if self._selector is None else self._selector.fileno()
        mover = Mover(self._engine, self.tun, self.sockets, self._epoll.fileno(), others)
        mover.watch(self._fds)
        return mover

    def close(self) -> None:
        """Stop watching; descriptors given to us stay open."""
        for number in list(self._fds):
            self.remove_socket(number)
        unwatch = self._loop.remove_reader if self._selector is None else self._selector.unwatch
        unwatch(self._epoll.fileno())
        unwatch(self._engine_timer.fileno())
        self._loop.remove_reader(self._timer.fileno())
        for opened in (self._epoll, self._timer, self._engine_timer):
            opened.close()

    def add_socket(self, number: int, udp: socket.socket) -> None:
        """Use a socket, which the tunnel knows by this number, until remove_socket()."""
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
            now = clock()
            slept = max(self._timer.late(now), self._engine_timer.late(now))
            self._engine_timer.due(now)
            now = self._mover.run(self._free_until(now))
            if self.tun.failed:
                self._device_gone()
            slept = max(slept, self._timer.late(now), self._mover.overslept)
            self._timer.due(now)
            self._engine_timer.due(now)  # what came due meanwhile, the mover has seen to
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
                self._beat_due = self._beat_interval = FOREVER
                self._on_failure(error)

    def _free_until(self, now: float) -> float:
        """When the tunnel, or another task of asyncio's, has something to do."""
        other = now + SLICE if self._selector is None else self._selector.free_until
        return min(self._tunnel_due, self._beat_due, other)

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
        """Set both timers for what comes next: the engine's, which the mover sees to itself while it runs, and the
        one that brings it back."""
        other = None if self.tunnel is None else self.tunnel.next_timeout()
        self._tunnel_due = FOREVER if other is None else other
        python_due = min(self._tunnel_due, self._beat_due)
        self._timer.arm(None if python_due == FOREVER else python_due)
        self._engine_timer.arm(self._engine.next_timeout())
