"""IP packets through two simulated ends: a few, to see that each arrives once, or as many as go, to measure."""

from dataclasses import dataclass, field

from tests.sim.packets import CLIENT_INNER, number_of, udp_packet
from tests.sim.pair import End, Pair

STEP = 0.002  # seconds between two looks at the source's queue, and the resolution of gaps
BACKLOG = 40  # packets that the source keeps waiting
SIZE = 1250  # bytes of each
FLOWS = 8


def bind(pair: Pair) -> None:
    """Let IP packets through, as after a CONNECT-IP request on stream 0."""
    for quic in (pair.c, pair.s):
        quic.engine_connection.bind(0)
    pair.client.engine.set_default(pair.c.engine_connection)
    pair.s.engine_connection.allow([], [(CLIENT_INNER, 32)])


def exchange(pair: Pair, seconds: float, *, interval: float = 0.01, first: int = 0) -> tuple[set[int], set[int]]:
    """Send a packet each way every `interval`; return the numbers that each end received, each only once."""
    pair.client.packets.clear()
    pair.server.packets.clear()
    for number in range(first, first + round(seconds / interval)):
        port = 5000 + number % 8  # several flows, so that every path gets some
        pair.client.send_packets([udp_packet(number, port=port)])
        pair.server.send_packets([udp_packet(number, to_server=False, port=port)])
        pair.run(interval)
    pair.run(0.2)
    received = [[number_of(packet) for packet in end.packets] for end in (pair.client, pair.server)]
    for numbers in received:
        assert len(numbers) == len(set(numbers))
    return set(received[0]), set(received[1])


@dataclass(frozen=True, slots=True)
class Figures:
    """What a source that was always full achieved."""

    goodput: float  # Mbit/s of inner packets
    gap: float  # seconds: the longest silence at the receiver
    spurious: int  # packets that the sender declared lost though they arrived

    def __str__(self) -> str:
        return f"{self.goodput:.2f} Mbit/s, {self.gap * 1000:.0f} ms, {self.spurious}"


@dataclass(slots=True)
class Flood:
    """A source that always has packets waiting, and the receiver that counts them."""

    pair: Pair
    to_client: bool
    size: int = SIZE
    flows: int = FLOWS
    number: int = 0
    received: set[int] = field(default_factory=set)
    heard_at: float = 0.0
    gap: float = 0.0
    declared: dict[int, int] = field(default_factory=dict)  # losses by path, also of paths that are gone

    @property
    def sender(self) -> End:
        return self.pair.server if self.to_client else self.pair.client

    @property
    def receiver(self) -> End:
        return self.pair.client if self.to_client else self.pair.server

    def run(self, seconds: float) -> Figures:
        """Keep the source full for so long."""
        pair = self.pair
        start, lost = pair.net.now, pair.net.lost(to_client=self.to_client)
        declared = self._declared()
        self.receiver.packets.clear()
        self.received.clear()
        self.gap, self.heard_at = 0.0, start
        while pair.net.now < start + seconds:
            self._fill()
            pair.run(STEP)
            self._look()
        self._heard()
        goodput = len(self.received) * self.size * 8e-6 / seconds
        pair.run(2.0)  # whatever was under way arrives or is declared lost
        self.receiver.packets.clear()
        spurious = self._declared() - declared - (pair.net.lost(to_client=self.to_client) - lost)
        return Figures(goodput, self.gap, max(0, spurious))

    def _fill(self) -> None:
        quic = self.sender.quic
        assert quic is not None
        if quic.has_ended:
            return
        packets = []
        for _ in range(BACKLOG - quic.engine_connection.queued()[0]):
            port = 5000 + self.number % self.flows
            packets.append(udp_packet(self.number, self.size, to_server=not self.to_client, port=port))
            self.number += 1
        self.sender.send_packets(packets)

    def _look(self) -> None:
        if self.receiver.packets:
            numbers = [number_of(packet) for packet in self.receiver.packets]
            assert self.received.isdisjoint(numbers), "a packet came twice"
            self.received.update(numbers)
            self._heard()
            self.receiver.packets.clear()
        self._declared()

    def _heard(self) -> None:
        self.gap = max(self.gap, self.pair.net.now - self.heard_at)
        self.heard_at = self.pair.net.now

    def _declared(self) -> int:
        quic = self.sender.quic
        assert quic is not None
        if not quic.has_ended:
            plane = quic.engine_connection
            self.declared |= {path_id: plane.path(path_id).lost for path_id in plane.path_ids()}
        return sum(self.declared.values())


def flood(pair: Pair, seconds: float, *, to_client: bool = True, size: int = SIZE, flows: int = FLOWS) -> Figures:
    """Run a source that is always full, towards the client or the server."""
    return Flood(pair, to_client, size, flows).run(seconds)
