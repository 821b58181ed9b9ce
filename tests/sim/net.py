"""A network in virtual time: links with delay, jitter, loss, duplication and blackholes, from one seed."""

import heapq
from dataclasses import dataclass
from random import Random

Endpoint = tuple[str, int]


@dataclass
class Link:
    """How datagrams between two addresses fare. Seconds and shares of 1; mtu: bytes of UDP payload."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    mtu: int = 1500
    is_up: bool = True


@dataclass(frozen=True, order=True)
class Arrival:
    """A datagram on its way."""

    at: float
    order: int
    source: Endpoint
    destination: Endpoint
    data: bytes


class Net:
    """Carries datagrams between addresses; a link belongs to the client's address, both ways."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 1000.0
        self.links: dict[str, Link] = {}
        self.carried = 0
        self.lost = 0
        self.rebound: dict[Endpoint, Endpoint] = {}  # what a NAT makes of a source address
        self._random = Random(seed)
        self._flying: list[Arrival] = []
        self._order = 0

    def link_between(self, one: Endpoint, other: Endpoint) -> Link:
        return self.links.get(one[0]) or self.links[other[0]]

    def carry(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        """Send a datagram; what becomes of it is decided now."""
        link = self.link_between(source, destination)
        origins = {outside: inside for inside, outside in self.rebound.items()}
        source = self.rebound.get(source, source)
        destination = origins.get(destination, destination)
        copies = 1 + (self._random.random() < link.duplicate)
        for _ in range(copies):
            if not link.is_up or len(data) > link.mtu or self._random.random() < link.loss:
                self.lost += 1
                continue
            self.carried += 1
            self._order += 1
            at = self.now + link.delay + self._random.random() * link.jitter
            heapq.heappush(self._flying, Arrival(at, self._order, source, destination, data))

    def next_arrival(self) -> float | None:
        return self._flying[0].at if self._flying else None

    def arrivals(self) -> list[Arrival]:
        """What has arrived by now, in order."""
        due = []
        while self._flying and self._flying[0].at <= self.now:
            due.append(heapq.heappop(self._flying))
        return due
