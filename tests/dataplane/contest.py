"""Connections that share one link, each with a source of datagrams that is always full, in virtual time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, Link, Pair, udp_packet

SIZE, SEGMENTS = 1300, 10
SUPER_PACKET = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes((SIZE - 28) * SEGMENTS))
MEGABIT = 125_000  # bytes per second


@dataclass
class Sample:
    """What one connection did in one interval: bytes per second of IP packets, RTT and queue of the link in seconds."""

    at: float
    rate: float
    rtt: float
    queue: float


@dataclass
class Contest:
    """`run` moves all connections together; `samples[i]` is the history of connection i."""

    link: Link
    algorithms: Sequence[str]
    seed: int = 1
    interval: float = 0.05
    pairs: list[Pair] = field(default_factory=list)
    samples: list[list[Sample]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, name in enumerate(self.algorithms):
            pair = Pair([self.link], seed=self.seed + number)
            pair.client.conn.set_congestion(name)
            pair.server.conn.set_congestion(name)
            self.pairs.append(pair)
            self.samples.append([])
        self.began = self.now = self.pairs[0].now
        self._counted = [0] * len(self.pairs)
        self._next_sample = self.now + self.interval

    def run(self, seconds: float, source: Callable[[Pair], None] | None = None) -> None:
        """Keep every queue filled (or call `source` instead) for that many seconds."""
        until = self.now + seconds
        while self.now < until:
            for pair in self.pairs:
                (source or fill)(pair)
                pair.pump()
            times = [t for pair in self.pairs if (t := pair.next_time()) is not None]
            self.now = max(self.now, min([*times, until, self._next_sample]))
            for number, pair in enumerate(self.pairs):
                pair.jump(self.now)
                self._counted[number] += sum(map(len, pair.server.received))
                pair.server.received.clear()
                pair.client.events.clear()
                pair.server.events.clear()
            if self.now >= self._next_sample:
                self._sample()

    def _sample(self) -> None:
        self._next_sample += self.interval
        for number, pair in enumerate(self.pairs):
            queue = max(0.0, self.link.free_at[False] - self.now)
            rate = self._counted[number] / self.interval
            self.samples[number].append(
                Sample(self.now - self.began, rate, pair.client.conn.path(0).latest_rtt, queue)
            )
            self._counted[number] = 0

    def rate(self, number: int, since: float, until: float | None = None) -> float:
        """Mean goodput of a connection in megabits per second, in seconds after the start."""
        return self._mean(number, "rate", since, until) / MEGABIT

    def queue(self, since: float, until: float | None = None) -> float:
        """Mean queueing delay of the link, seconds."""
        return self._mean(0, "queue", since, until)

    def _mean(self, number: int, what: str, since: float, until: float | None) -> float:
        end = self.now - self.began if until is None else until
        chosen = [getattr(s, what) for s in self.samples[number] if since < s.at <= end + 1e-6]
        return float(sum(chosen) / len(chosen))


def fill(pair: Pair) -> None:
    """A source that is always full: never fewer than four super packets wait."""
    waiting, _ = pair.client.conn.queued()
    if waiting < 4:
        pair.client.push([SUPER_PACKET] * 4, pair.now, gso_size=SIZE - 28)
