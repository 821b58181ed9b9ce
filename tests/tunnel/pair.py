"""A ServerTunnel and any number of ClientTunnels in memory: real engines, real handshakes, virtual time.

Each client socket is a link of its own to the server; `dead` links swallow what is put on them. Nothing is
lost otherwise, and everything takes 10 ms.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from mqvpn.connectip.pool import Pool
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.udp import Bursts, Datagrams
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.core import Tunnel
from mqvpn.tunnel.options import ClientOptions
from mqvpn.tunnel.paths import Uplink
from mqvpn.tunnel.server import ServerOptions, ServerTunnel
from tests.fakes import certificate as fakes

DELAY = 0.01  # seconds one way
PORTS = 100  # of a client that shares its address
SERVER = ("192.0.2.1", 4433)
KEY = b"the shared key"
Endpoint = tuple[str, int]


def write_certificate(directory: Path) -> tuple[str, str]:
    """A self-signed certificate for vpn.example and its key, as names of PEM files."""
    certificate, key = fakes.write_certificate(directory, "vpn.example")
    return str(certificate), str(key)


@dataclass
class End:
    """One tunnel with its engine, and what came out of it."""

    engine: Engine
    tunnel: Tunnel
    address: Endpoint  # of socket 0; socket n has port + n
    events: list[Any] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def next_timeout(self) -> float | None:
        times = [at for at in (self.engine.next_timeout(), self.tunnel.next_timeout()) if at is not None]
        return min(times, default=None)


class Network:
    """Every end, the datagrams between them, and the time."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.now = 1000.0
        self.dead: set[Endpoint] = set()  # client addresses whose link carries nothing
        self.ends: list[End] = []
        self._serial = itertools.count()
        self._flying: list[tuple[float, int, End, int, Endpoint, Endpoint, bytes]] = []
        self._datagrams, self._bursts, self._refs = Datagrams(), Bursts(), PacketRefs()
        self.cert_file, key_file = write_certificate(directory)
        network = changes.pop("network", IPv4Network("10.0.0.0/24"))
        self.pool = Pool(network, changes.pop("network6", IPv6Network("fd00::/112")))
        options = ServerOptions(**{"authorize": {KEY: ""}.get, "reset_key": b"r" * 32, **changes})
        configuration = quic_configuration(
            is_client=False, idle_timeout=120.0, certificate=self.cert_file, private_key=key_file
        )
        engine = Engine(is_server=True)
        self.server = End(engine, ServerTunnel(engine, options, self.pool, configuration), SERVER)
        self.ends.append(self.server)

    def client(
        self,
        links: int = 1,
        *,
        trusts: bool = True,
        pins: tuple[str, ...] = (),
        nat: str = "",
        servers: tuple[Endpoint, ...] = (SERVER,),
        hurried: bool = False,
        **changes: Any,
    ) -> End:
        """Add a client with so many interfaces: eth0, eth1 ...; it starts when start() is called.

        trusts: it takes the server's certificate for its CA. nat: its address, if it shares one with others. servers:
        those it may choose from. hurried: there is another.
        """
        engine = Engine(is_server=False)
        options = ClientOptions(**{"host": "vpn.example", "port": 4433, "key": KEY, **changes})
        configuration = quic_configuration(
            is_client=True,
            idle_timeout=60.0,
            server_name="vpn.example",
            ca=Path(self.cert_file).read_bytes() if trusts else None,
            pins=pins,
        )
        others = [(options, configuration)] * (len(servers) - 1)
        tunnel = ClientTunnel(engine, options, configuration, others=others, hurried=hurried)
        address = (nat, 5000 + PORTS * len(self.ends)) if nat else (f"198.51.100.{len(self.ends)}", 5000)
        end = End(engine, tunnel, address)
        for number in range(links):
            name = f"eth{number}"
            ways = [Uplink(name, number, server, server=place) for place, server in enumerate(servers)]
            tunnel.handle_link(name, tuple(ways), self.now)
        self.ends.append(end)
        return end

    def start(self, *ends: End) -> None:
        for end in ends:
            end.tunnel.handle_timeout(self.now)
            self.settle(end)

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], bool], limit: float = 30.0) -> bool:
        """Let virtual time pass until the condition holds; False: it did not within `limit` seconds."""
        end_at, turns = self.now + limit, 0
        while not condition():
            times = [end.next_timeout() for end in self.ends] + [self._flying[0][0] if self._flying else None]
            at = min((at for at in times if at is not None), default=None)
            if at is None or at > end_at:
                self.now = end_at
                return condition()
            turns = 0 if at > self.now else turns + 1
            assert turns < 1000, "a timer is due for ever"
            self.now = max(self.now, at)
            self._deliver()
            for end in self.ends:
                self._expire(end)
        return True

    def settle(self, end: End) -> None:
        """Carry out what one end has to say now."""
        tunnel = end.tunnel
        tunnel.handle_events(self.now)
        while ready := tunnel.short_headers():
            for packet in ready:
                end.engine.receive_one(*packet, self._refs, self.now)
                self._collect(end)
            tunnel.handle_events(self.now)
        end.answers += tunnel.packets()
        end.events += tunnel.poll()
        for socket, remote, _, data in tunnel.datagrams():
            self._carry(end, socket, remote, data)
        while end.engine.transmit(self._bursts, self.now):
            for socket, remote, _, data in self._bursts.datagrams():
                self._carry(end, socket, remote, data)
            self._bursts.clear()

    def inject(self, target: End, data: bytes, remote: Endpoint) -> None:
        """Let one datagram from anywhere arrive now."""
        self.arrive(target, data, remote)
        self.settle(target)

    def arrive(self, target: End, data: bytes, remote: Endpoint) -> None:
        """The same, but settle() has it looked at."""
        self._receive(target, 0, remote, target.address, data)

    def arrive_together(self, target: End) -> None:
        """All that is on its way to this end is there now; settle() has it looked at."""
        arriving = sorted(flying for flying in self._flying if flying[2] is target)
        self._flying = [flying for flying in self._flying if flying[2] is not target]
        heapq.heapify(self._flying)
        for _, _, _, socket, remote, local, data in arriving:
            self._receive(target, socket, remote, local, data)

    def from_tun(self, end: End, packet: bytes) -> None:
        """The machine sends an IP packet into the tunnel."""
        batch = PacketBatch()
        batch.append(packet)
        end.engine.from_tun(batch, self.now)
        batch.clear()
        self.settle(end)

    def _carry(self, source: End, socket: int, remote: Endpoint, data: bytes) -> None:
        host, port = source.address
        sender = (host, port + socket)
        if sender in self.dead or remote in self.dead:
            return
        for target in self.ends:
            number = remote[1] - target.address[1]
            if target.address[0] == remote[0] and 0 <= number < PORTS:
                arrival = (self.now + DELAY, next(self._serial), target, number, sender, remote, data)
                heapq.heappush(self._flying, arrival)

    def _deliver(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, target, socket, remote, local, data = heapq.heappop(self._flying)
            self._receive(target, socket, remote, local, data)
            self.settle(target)

    def _receive(self, target: End, socket: int, remote: Endpoint, local: Endpoint, data: bytes) -> None:
        self._datagrams.clear()
        self._datagrams.append(socket, remote, local, data)
        target.engine.receive(self._datagrams, self._refs, self.now)
        self._collect(target)

    def _collect(self, end: End) -> None:
        end.packets += self._refs.packets()
        self._refs.clear()

    def _expire(self, end: End) -> None:
        at = end.engine.next_timeout()
        if at is not None and at <= self.now:
            end.engine.timeout(self._refs, self.now)
            self._collect(end)
        end.tunnel.handle_timeout(self.now)
        self.settle(end)


def is_up(end: End) -> bool:
    return bool(end.of(events.TunnelUp))
