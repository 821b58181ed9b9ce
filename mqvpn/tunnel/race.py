"""The handshake race: one connection for each uplink, 250 ms apart, until one of them is through.

A dead first interface costs a quarter of a second, not a timeout. An attempt that fails lets the next start
at once.
"""

from dataclasses import dataclass

from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel.events import Closed
from mqvpn.tunnel.paths import Uplink

HEAD_START = 0.25  # seconds between two attempts
ATTEMPT_TIMEOUT = 10.0  # seconds for one handshake


@dataclass(frozen=True, slots=True)
class Attempt:
    """One handshake on its way."""

    connection: MultipathConnection
    uplink: Uplink
    give_up_at: float


class Race:
    """Which uplink is tried when, and what came of it."""

    def __init__(self) -> None:
        self.failure = Closed("no interface can be used")
        self._attempts: dict[MultipathConnection, Attempt] = {}
        self._tried: set[Uplink] = set()
        self._untried: list[Uplink] = []
        self._next_at = 0.0

    @property
    def over(self) -> bool:
        """Whether every attempt failed and there is nothing left to try."""
        return not self._attempts and not self._untried

    def attempts(self) -> list[MultipathConnection]:
        """The connections whose handshake is still open."""
        return list(self._attempts)

    def links_changed(self, uplinks: list[Uplink], now: float) -> list[MultipathConnection]:
        """These can be used now; returns the connections of attempts that no longer can."""
        self._untried = [uplink for uplink in uplinks if uplink not in self._tried]
        dead = [attempt for attempt in self._attempts.values() if attempt.uplink not in uplinks]
        for attempt in dead:
            self._tried.discard(attempt.uplink)
            del self._attempts[attempt.connection]
        if not self._attempts:
            self._next_at = now
        return [attempt.connection for attempt in dead]

    def next_uplink(self, now: float) -> Uplink | None:
        """The uplink to be tried now, if it is time for one."""
        return self._untried[0] if self._untried and self._next_at <= now else None

    def started(self, connection: MultipathConnection, uplink: Uplink, now: float) -> None:
        self._untried.remove(uplink)
        self._tried.add(uplink)
        self._attempts[connection] = Attempt(connection, uplink, now + ATTEMPT_TIMEOUT)
        self._next_at = now + HEAD_START

    def won(self, connection: MultipathConnection) -> Uplink:
        """This connection finished its handshake; the rest stay in attempts() to be closed."""
        self._untried.clear()
        return self._attempts.pop(connection).uplink

    def lost(self, connection: MultipathConnection, failure: Closed) -> None:
        """This connection failed: the next may start at once."""
        if self._attempts.pop(connection, None) is not None:
            self.failure = failure
            self._next_at = 0.0

    def expired(self, now: float) -> list[MultipathConnection]:
        """The connections that had their time, already forgotten here."""
        late = [attempt for attempt in self._attempts.values() if attempt.give_up_at <= now]
        for attempt in late:
            self.lost(attempt.connection, Closed(f"no answer from {_text(attempt.uplink.remote)}"))
        return [attempt.connection for attempt in late]

    def next_timeout(self) -> float | None:
        times = [attempt.give_up_at for attempt in self._attempts.values()]
        if self._untried or self.over:
            times.append(self._next_at)
        return min(times, default=None)


def _text(remote: tuple[str, int]) -> str:
    host, port = remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
