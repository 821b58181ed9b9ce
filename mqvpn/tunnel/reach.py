"""Whether the server can be reached again, asked from time to time while there is no tunnel.

A link that swallowed everything and no longer does is no event on this machine, and handshakes come ever more seldom.
So each way to the server is asked (wire.question), which costs 1200 bytes here and nothing there. Only an answer after
silence says something new: a server that answers and gives no tunnel is left to the waiting between two attempts, and
so is one whose handshakes some middlebox swallows. Ways of backups may cost money: they are asked more seldom, less
than the handshakes over them cost; and all of them are when the server has been away for long.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mqvpn.tunnel.paths import Uplink
from mqvpn.wire.question import Question

INTERVAL = 3.0  # seconds, at most, between two questions on one way
SPARING = 30.0  # the same of a backup
LONG = 3600.0  # seconds without a tunnel, after which
SELDOM = 5  # times as long passes between two questions
MOST_WAYS = 16  # that are asked
KEPT = 2  # questions on one way that may still be answered: round trips may be longer than the interval

Endpoint = tuple[str, int]
Key = tuple[int, Endpoint]  # socket, and the server's address


@dataclass(slots=True)
class _Way:
    """When it is asked next, and what was asked; `silent`: a question was not answered before the next one was due."""

    interval: float
    due: float
    questions: list[Question] = field(default_factory=list)
    answered: bool = True
    silent: bool = False


class Reach:
    """Every way to the servers. It outlives the attempts of one client, as what it knows of a way does."""

    def __init__(self) -> None:
        self._ways: dict[Key, _Way] = {}
        self._asked: list[Key] = []
        self._since: float | None = None

    def watch(self, uplinks: Sequence[Uplink], backups: Iterable[str], now: float) -> None:
        """Ask by the first of these from now on, by the interfaces that are `backups` more seldom."""
        self._since = now if self._since is None else self._since
        self._asked = [(uplink.socket, uplink.remote) for uplink in uplinks[:MOST_WAYS]]
        if len(self._ways) > 4 * MOST_WAYS:
            self._ways = {key: way for key, way in self._ways.items() if key in self._asked}
        for key, uplink in zip(self._asked, uplinks, strict=False):
            interval = SPARING if uplink.interface in backups else INTERVAL
            way = self._ways.get(key)
            if way is None:
                way = self._ways[key] = _Way(interval, now + self._pause(interval, now))
            elif interval < way.interval:
                way.due = min(way.due, now + self._pause(interval, now))
            way.interval = interval

    def pause(self) -> None:
        """Ask nobody until watch() is called again."""
        self._asked = []

    def forget(self) -> None:
        """There is a tunnel: what was asked before is of no interest any more."""
        self._ways, self._asked, self._since = {}, [], None

    def next_timeout(self) -> float | None:
        """When questions() has some; None: never."""
        return min((self._ways[key].due for key in self._asked), default=None)

    def questions(self, now: float) -> list[tuple[Key, bytes]]:
        """What is due, as datagrams to be sent."""
        found = []
        for key in self._asked:
            way = self._ways[key]
            if way.due > now:
                continue
            way.due = now + self._pause(way.interval, now)
            way.silent, way.answered = way.silent or not way.answered, False
            question = Question()
            way.questions = [*way.questions, question][-KEPT:]
            found.append((key, question.write()))
        return found

    def is_back(self, key: Key, datagram: bytes) -> bool:
        """Whether this datagram is an answer on a way that was silent before, one that is being asked."""
        way = self._ways.get(key) if key in self._asked else None
        answered = [] if way is None else [one for one in way.questions if one.is_answer(datagram)]
        if way is None or not answered:
            return False
        was_silent, way.silent, way.answered = way.silent, False, True
        way.questions = [one for one in way.questions if one not in answered]
        return was_silent

    def _pause(self, interval: float, now: float) -> float:
        """Spread, so that many clients do not ask at once."""
        if self._since is not None and now - self._since > LONG:
            interval *= SELDOM
        return random.uniform(interval * 2 / 3, interval)  # noqa: S311 -- nobody must be unable to guess it
