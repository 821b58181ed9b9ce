"""The pump between real descriptors: a socket pair as the TUN device, UDP on loopback, real tunnels."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mqvpn.connectip.pool import Pool
from mqvpn.daemon import loop, pump
from mqvpn.daemon.pump import DeviceGone, Pump
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.tun import Tun
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.options import ClientOptions
from mqvpn.tunnel.paths import Uplink
from mqvpn.tunnel.server import ServerOptions, ServerTunnel
from tests.daemon.waiting import eventually
from tests.tunnel.pair import KEY, write_certificate
from tests.wire.packets import ipv4

SHORT_GAP = 0.4  # seconds


class End:
    """One pump, with its events and failures, and the far side of its TUN device."""

    def __init__(self, *, is_server: bool) -> None:
        self.events: list[Any] = []
        self.failures: list[Exception] = []
        self.machine, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._device.setblocking(False)
        self.machine.settimeout(5)
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::", 0))
        self.engine = Engine(is_server=is_server)
        fd = self._device.fileno()
        device = Tun(fd, vnet_header=False)
        self.pump = Pump(self.engine, device, fd, self.events.append, self.failures.append)
        self.pump.add_socket(0, self.udp)
        self.pump.start()

    def close(self) -> None:
        self.pump.close()
        for opened in (self.udp, self.machine, self._device):
            opened.close()

    def is_up(self) -> bool:
        return any(isinstance(event, events.TunnelUp) for event in self.events)


@pytest.mark.parametrize("run_in", [loop.run, asyncio.run], ids=["own loop", "any loop"])
def test_a_tunnel_over_loopback(run_in: Callable[[Any], None], tmp_path: Path) -> None:
    cert_file, key_file = write_certificate(tmp_path)

    async def run() -> None:
        server, client = End(is_server=True), End(is_server=False)
        port = server.udp.getsockname()[1]
        configuration = quic_configuration(
            is_client=False, idle_timeout=30.0, certificate=cert_file, private_key=key_file
        )
        server.pump.tunnel = ServerTunnel(
            server.engine,
            ServerOptions(authorize={KEY: ""}.get),
            Pool(IPv4Network("10.0.0.0/24")),
            configuration,
        )
        tunnel = client.pump.tunnel = ClientTunnel(
            client.engine,
            ClientOptions(host="vpn.example", port=port, key=KEY),
            quic_configuration(is_client=True, idle_timeout=30.0, verify=False),
        )
        now = clock()
        tunnel.handle_link("lo", (Uplink("lo", 0, ("127.0.0.1", port)),), now)
        tunnel.handle_timeout(now)
        client.pump.wake(now)
        await eventually(client.is_up)
        packet = ipv4(source="10.0.0.2", destination="10.0.0.1")
        client.machine.send(packet)
        received = await asyncio.to_thread(server.machine.recv, 2000)
        assert received[12:] == packet[12:]
        tunnel.close(clock())
        client.pump.wake(clock())
        await eventually(lambda: any(isinstance(event, events.ClientLeft) for event in server.events))
        assert server.failures == client.failures == []
        server.close()
        client.close()

    run_in(run())


def test_a_failure_is_told_once() -> None:
    class Broken:
        @property
        def failed(self) -> int:
            return 1 // 0

    async def run() -> None:
        end = End(is_server=False)
        end.pump.tun = Broken()  # type: ignore[assignment]
        for _ in range(3):
            end.machine.send(b"packet")
            await asyncio.sleep(0.02)
        assert [type(failure) for failure in end.failures] == [ZeroDivisionError]
        end.close()

    loop.run(run())


def test_the_device_goes() -> None:
    """read() on a TUN descriptor whose interface was deleted: EBADFD."""

    class Gone:
        failed = 77

        def read(self, *_: object) -> int:
            return 0

    async def run() -> None:
        end = End(is_server=False)
        end.pump.tun = Gone()  # type: ignore[assignment]
        end.machine.send(b"packet")
        await eventually(lambda: bool(end.failures))
        assert isinstance(end.failures[0], DeviceGone)
        assert os.strerror(77) in str(end.failures[0])
        end.close()

    loop.run(run())


@pytest.mark.pace
def test_asyncio_has_its_turn_while_packets_keep_coming() -> None:
    """At once, as a rule; and the packets pass without a turn of asyncio's loop for each."""

    async def run() -> None:
        end = End(is_server=False)
        running = asyncio.get_running_loop()
        assert isinstance(running, loop.PacketLoop)
        turns, flows = 0, threading.Event()
        select = running.selector.select

        def counted(timeout: float | None = None) -> list[Any]:
            nonlocal turns
            turns += 1
            return select(timeout)

        def flow() -> int:
            """Packets for nowhere, into the TUN device's far side."""
            sent = 0
            while not flows.is_set():
                end.machine.send(ipv4(source="10.0.0.2", destination="10.0.0.1"))
                sent += 1
            return sent

        flowing = asyncio.create_task(asyncio.to_thread(flow))
        await asyncio.sleep(0.1)
        running.selector.select = counted  # type: ignore[method-assign]
        late = []
        for _ in range(20):
            asked = clock()
            await asyncio.sleep(0.01)
            late.append(clock() - asked - 0.01)
            asked = clock()
            await asyncio.to_thread(lambda: None)
            late.append(clock() - asked)
        flows.set()
        sent = await flowing
        assert sorted(late)[len(late) // 2] < 0.01
        assert sent > 20 * turns
        end.close()

    loop.run(run())


def test_to_be_busy_is_not_to_have_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's timer is for the time when packets are not moved: it is not late because they are."""

    class DueSoon:
        def next_timeout(self) -> float:
            return clock() + SHORT_GAP / 2

        def has_events(self) -> bool:
            return False

    async def run() -> None:
        end = End(is_server=False)
        gaps: list[float] = []
        end.pump.on_gap = gaps.append
        end.pump._engine = DueSoon()  # type: ignore[assignment]

        def flow() -> None:
            until = clock() + 4 * SHORT_GAP
            while clock() < until:
                end.machine.send(ipv4(source="10.0.0.2", destination="10.0.0.1"))

        end.machine.send(b"the first packet")
        await asyncio.sleep(SHORT_GAP / 4)  # the mover has come back, and the timer is set
        await asyncio.to_thread(flow)
        await asyncio.sleep(0.1)
        assert gaps == []
        end.close()

    monkeypatch.setattr(pump, "GAP", SHORT_GAP)
    loop.run(run())


def test_the_heart_beats_while_an_idle_loop_turns() -> None:
    async def run() -> None:
        end = End(is_server=True)
        beats: list[float] = []
        begin = clock()
        end.pump.beat(lambda: beats.append(clock()), 0.05)
        await eventually(lambda: len(beats) >= 4)
        assert beats[3] - begin >= 3 * 0.05
        end.close()

    loop.run(run())


def test_the_heart_stands_still_when_the_loop_has_failed() -> None:
    async def run() -> None:
        end, beats = End(is_server=True), 0

        def beat() -> None:
            nonlocal beats
            beats += 1
            raise OSError("broken")

        end.pump.beat(beat, 0.02)
        await eventually(lambda: len(end.failures) == 1)
        await asyncio.sleep(0.2)
        assert (beats, len(end.failures)) == (1, 1)
        end.close()

    loop.run(run())
