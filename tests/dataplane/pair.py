"""Two engines joined in memory by a seeded network with virtual time: loss, delay, reordering, duplication, rate."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from mqvpn.dataplane.engine import AES_128_GCM, RECEIVE, SEND, Connection, Engine
from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.udp import Bursts, Datagrams

SUITE_KEYS = {AES_128_GCM: 16, 2: 32, 3: 32}
CLIENT_ADDRESS, SERVER_ADDRESS = "10.0.0.2", "10.0.0.1"


def udp_packet(source: str, destination: str, payload: bytes, ports: tuple[int, int] = (1000, 2000)) -> bytes:
    """A UDP packet without checksum (IPv4) as the TUN would give it."""
    length = 28 + len(payload)
    header = bytes([0x45, 0]) + length.to_bytes(2, "big") + bytes(4) + bytes([64, 17, 0, 0])
    header += ip_address(source).packed + ip_address(destination).packed
    ports_bytes = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    return header + ports_bytes + (length - 20).to_bytes(2, "big") + bytes(2) + payload


@dataclass
class Link:
    """One path of the network, the same in both directions; times in seconds, rate in bytes per second."""

    delay: float = 0.01
    rate: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    queue: int = 200_000
    mtu: int = 0  # of UDP payload; larger ones disappear; 0: none does
    down: bool = False
    remark: Callable[[int], int] = int  # what it makes of an ECN field
    free_at: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})


class End:
    """One engine with one connection, and what came out of it."""

    def __init__(self, *, is_server: bool, seed: int) -> None:
        self.is_server = is_server
        self.engine = Engine(is_server=is_server, seed=seed)
        self.conn: Connection = self.engine.connection(is_client=not is_server)
        self.bursts, self.datagrams, self.refs, self.batch = Bursts(), Datagrams(), PacketRefs(), PacketBatch()
        self.received: list[bytes] = []
        self.events: list[tuple] = []

    def install_keys(self, generation: int, suite: int) -> None:
        size = SUITE_KEYS[suite]
        for direction in (SEND, RECEIVE):
            who = self.is_server == (direction == SEND)
            seed = random.Random(f"{generation} {who}")  # the sender's role decides: both ends agree
            self.conn.set_keys(direction, generation, suite, seed.randbytes(size), seed.randbytes(12), b"h" * size)

    def push(self, packets: list[bytes], now: float, gso_size: int = 0) -> None:
        """Packets from the TUN."""
        for packet in packets:
            self.batch.append(packet, gso_size)
        self.engine.from_tun(self.batch, now)


class Pair:
    """A client and a server engine with the same paths open and validated; `run` moves virtual time."""

    def __init__(self, links: list[Link], *, suite: int = AES_128_GCM, scheduler: str = "wlb", seed: int = 1) -> None:
        self.links, self.random, self.now = links, random.Random(seed), 1.0
        self.client, self.server = End(is_server=False, seed=seed), End(is_server=True, seed=seed)
        self.flying: list[tuple] = []
        self.order = itertools.count()
        self.suite = suite
        for end in (self.client, self.server):
            for generation in (0, 1):
                end.install_keys(generation, suite)
            end.conn.set_scheduler(scheduler)
            for path, _ in enumerate(links):
                self.open(end, path)
            end.conn.bind(0)
        self.client.engine.set_default(self.client.conn)
        mine = [(ip_address(CLIENT_ADDRESS).packed, 32)]
        self.client.conn.allow(mine, [])
        self.server.conn.allow([], mine)
        self.measure()

    def measure(self) -> None:
        """Give every path an RTT, as validation does, and start from a quiet network."""
        impairments = [(link.loss, link.duplicate, link.reorder) for link in self.links]
        for path, link in enumerate(self.links):
            link.loss = link.duplicate = link.reorder = 0.0
            for end in (self.client, self.server):
                end.conn.send(b"\x01", path_id=path)
        self.run(0.5)
        for link, (loss, duplicate, reorder) in zip(self.links, impairments, strict=True):
            link.loss, link.duplicate, link.reorder = loss, duplicate, reorder
        for end in (self.client, self.server):
            end.events.clear()

    def open(self, end: End, path: int) -> None:
        client, server = ("192.0.2.1", 1000 + path), ("192.0.2.2", 443)
        local, remote = (server, client) if end.is_server else (client, server)
        end.conn.add_cid(self.cid(end.is_server, path), path)
        end.conn.open_path(path, path, remote, local, self.cid(not end.is_server, path))
        end.conn.set_path(path, validated=True, usable=True, mtu=1400)

    @staticmethod
    def cid(of_server: bool, path: int) -> bytes:
        return bytes([of_server, path, 7, 7, 7, 7, 7, 7])

    def carry(self, end: End) -> None:
        """Take what the end has to send and put it on its links."""
        while end.engine.transmit(end.bursts, self.now):
            for (socket, remote, local, data), ecn in zip(end.bursts.datagrams(), end.bursts.ecn(), strict=True):
                self.send(end, socket, remote, local, data, ecn)

    def send(self, end: End, socket: int, remote: tuple, local: tuple, data: bytes, ecn: int = 0) -> None:
        link = self.links[socket]
        if link.down or 0 < link.mtu < len(data) or self.random.random() < link.loss:
            return
        start = max(self.now, link.free_at[end.is_server])
        if link.rate:
            if (start - self.now) * link.rate > link.queue:
                return
            start += (len(data) + 28) / link.rate
            link.free_at[end.is_server] = start
        for _ in range(2 if self.random.random() < link.duplicate else 1):
            at = start + link.delay
            if self.random.random() < link.reorder:
                at += link.delay / 2
            ecn = link.remark(ecn)
            heapq.heappush(self.flying, (at, next(self.order), not end.is_server, socket, local, remote, data, ecn))

    def deliver(self) -> None:
        while self.flying and self.flying[0][0] <= self.now:
            _, _, to_server, socket, remote, local, data, ecn = heapq.heappop(self.flying)
            if self.links[socket].down:
                continue
            end = self.server if to_server else self.client
            end.datagrams.clear()
            end.refs.clear()
            end.datagrams.append(socket, remote, local, data, ecn=ecn)
            end.engine.receive(end.datagrams, end.refs, self.now)
            end.received += end.refs.packets()

    def pump(self) -> None:
        """Put on the links what both ends have to send now."""
        for end in (self.client, self.server):
            self.carry(end)
            end.events += end.engine.events()

    def next_time(self) -> float | None:
        """When something happens next; None: never."""
        times = [t for end in (self.client, self.server) if (t := end.engine.next_timeout()) is not None]
        if self.flying:
            times.append(self.flying[0][0])
        return min(times, default=None)

    def jump(self, now: float) -> None:
        """Go on to that time: deliver what arrives until then, and let timers run."""
        self.now = max(self.now, now)
        self.deliver()
        for end in (self.client, self.server):
            end.refs.clear()
            end.engine.timeout(end.refs, self.now)
            end.received += end.refs.packets()

    def step(self, until: float) -> bool:
        """One round: send, then jump to whatever happens next. False when nothing will before `until`."""
        self.pump()
        at = self.next_time()
        if at is None or at > until:
            self.now = max(self.now, until)
            return False
        self.jump(at)
        return True

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.step(until):
            pass


def packets(count: int, size: int = 1000, port: int = 2000, first: int = 0) -> list[bytes]:
    return [
        udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, n.to_bytes(4, "big") + bytes(size - 4), (1000, port))
        for n in range(first, first + count)
    ]


def feed(pair: Pair, rate: float, seconds: float, size: int = 1200, flows: int = 1, tick: float = 0.001) -> int:
    """Packets from the client's TUN at `rate` bytes per second, spread over flows; how many."""
    sent, credit, end = 0, 0.0, pair.now + seconds
    while pair.now < end:
        credit += rate * tick
        while credit >= size:
            pair.client.push(packets(1, size, 2000 + sent % flows, sent), pair.now)
            sent += 1
            credit -= size
        pair.run(tick)
    return sent


def goodput(pair: Pair, seconds: float, rate: float, flows: int = 1) -> float:
    """Bytes per second that arrive while the client's TUN offers `rate`."""
    before = len(pair.server.received)
    feed(pair, rate, seconds, flows=flows)
    return sum(map(len, pair.server.received[before:])) / seconds
