"""A network in virtual time, from one seed: what each link does to datagrams, and a NAT that can change its mind.

Delay, jitter, rate with a queue, loss one by one or in bursts, reordering, duplication, corruption, an MTU,
blackholes for good or on a schedule; in one direction or both.
"""

import heapq
from dataclasses import dataclass, field
from random import Random

Endpoint = tuple[str, int]
CE = 3  # RFC 3168


@dataclass
class Link:
    """How datagrams fare between a client address and the server. Seconds, bytes, bytes a second, shares of 1."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    burst: int = 1  # losses take so many datagrams in a row; their share stays `loss`
    duplicate: float = 0.0
    reorder: float = 0.0  # share that is held back for another `late`
    late: float = 0.005
    corrupt: float = 0.0  # share with one bit flipped
    rate: float = 0.0  # 0: any
    queue: int = 60_000  # at most, where there is a rate
    mark_from: int = 0  # of queue: ECN-capable datagrams are marked CE beyond; 0: never
    bleaches: bool = False  # clears the ECN field
    mtu: int = 1500  # of UDP payload; larger ones disappear
    is_up: bool = True
    works: float = 0.0  # seconds that it works in turn with
    fails: float = 0.0  # seconds that it does not; 0: works always
    to_client: "Link | None" = None  # the other direction where that differs

    def is_open(self, now: float) -> bool:
        """Whether it lets anything through now."""
        return self.is_up and (not self.fails or now % (self.works + self.fails) < self.works)


@dataclass
class Direction:
    """One direction of a link: its state, and what became of the datagrams put on it."""

    free_at: float = 0.0
    to_lose: int = 0  # of the burst under way
    lost: int = 0  # also those that were damaged


@dataclass(order=True)
class Arrival:
    """A datagram on its way."""

    at: float
    order: int
    source: Endpoint
    destination: Endpoint
    data: bytes
    link: Link = field(compare=False)
    direction: Direction = field(compare=False)
    ecn: int = field(compare=False)


class Net:
    """Carries datagrams between addresses; a link belongs to the client's address, both ways."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 1000.0
        self.links: dict[str, Link] = {}
        self.directions: dict[tuple[str, bool], Direction] = {}  # by client address and whether to the client
        self.rebound: dict[Endpoint, Endpoint] = {}  # what a NAT makes of a source address
        self._closed: set[Endpoint] = set()  # faces that lead nowhere any more
        self._random = Random(seed)
        self._flying: list[Arrival] = []
        self._order = 0

    def lost(self, *, to_client: bool) -> int:
        """How many datagrams never arrived whole, on all links."""
        return sum(direction.lost for (_, way), direction in self.directions.items() if way is to_client)

    def rebind(self, inside: Endpoint, outside: Endpoint) -> None:
        """The NAT gives a client's address another face; what comes for the old one is lost from now on."""
        self._closed.add(self.rebound.get(inside, inside))
        self.rebound[inside] = outside

    def carry(self, source: Endpoint, destination: Endpoint, data: bytes, ecn: int = 0) -> None:
        """Send a datagram; what becomes of it is decided now. ecn: the field of its IP header."""
        to_client = source[0] not in self.links
        face = destination
        if to_client:
            destination = next((inside for inside, outside in self.rebound.items() if outside == face), face)
        client = destination[0] if to_client else source[0]
        direction = self.directions.setdefault((client, to_client), Direction())
        link = self.links.get(client)
        if link is None or face in self._closed:
            direction.lost += 1
            return
        if not to_client:
            source = self.rebound.get(source, source)
        if to_client and link.to_client is not None:
            link = link.to_client
        for _ in range(1 + self._happens(link.duplicate)):
            self._send(link, direction, source, destination, data, ecn)

    def next_arrival(self) -> float | None:
        return self._flying[0].at if self._flying else None

    def arrivals(self) -> list[Arrival]:
        """What has arrived by now, in order; what was under way on a link that broke meanwhile is lost."""
        due = []
        while self._flying and self._flying[0].at <= self.now:
            arrival = heapq.heappop(self._flying)
            if arrival.link.is_open(arrival.at):
                due.append(arrival)
            else:
                arrival.direction.lost += 1
        return due

    def _send(
        self, link: Link, direction: Direction, source: Endpoint, destination: Endpoint, data: bytes, ecn: int
    ) -> None:
        leaves_at = self._leaves_at(link, direction, len(data))
        if leaves_at is None or not link.is_open(self.now) or len(data) > link.mtu or self._is_lost(link, direction):
            direction.lost += 1
            return
        if ecn and link.mark_from and (leaves_at - self.now) * link.rate > link.mark_from:
            ecn = CE
        at = leaves_at + link.delay + self._random.random() * link.jitter + self._happens(link.reorder) * link.late
        if self._happens(link.corrupt):
            direction.lost += 1
            data = self._damaged(data)
        self._order += 1
        heapq.heappush(
            self._flying,
            Arrival(at, self._order, source, destination, data, link, direction, 0 if link.bleaches else ecn),
        )

    def _leaves_at(self, link: Link, direction: Direction, size: int) -> float | None:
        """When the datagram is on the wire; None: the queue is full."""
        if not link.rate:
            return self.now
        starts_at = max(self.now, direction.free_at)
        if (starts_at - self.now) * link.rate + size > link.queue:
            return None
        direction.free_at = starts_at + size / link.rate
        return direction.free_at

    def _is_lost(self, link: Link, direction: Direction) -> bool:
        if direction.to_lose:
            direction.to_lose -= 1
            return True
        # After each burst of n, on average (1 - loss) / loss * n pass.
        if link.loss and self._happens(link.loss / (link.loss + (1 - link.loss) * link.burst)):
            direction.to_lose = link.burst - 1
            return True
        return False

    def _damaged(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _happens(self, share: float) -> bool:
        return share > 0.0 and self._random.random() < share
