"""The handshake race: one connection for each uplink, 250 ms apart, until one of them is through.

A dead first interface costs a quarter of a second, not a timeout. An attempt that fails lets the next start
at once. Of several servers the preferred one has a head start; then the next is asked beside it, and so on, in the
spirit of RFC 8305: a dead server costs that head start. Over an uplink that was silent and no longer is, the handshake
begins anew.
"""

from dataclasses import dataclass

from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel.events import Closed
from mqvpn.tunnel.paths import Endpoint, Uplink

HEAD_START = 0.25  # seconds between two attempts
SERVER_HEAD_START = 1.5  # seconds between two servers: some handshakes' time, so that the preferred one wins if it can
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
        self._asked = -1  # the place of the last server that is asked
        self._next_server_at = 0.0
        self._failures: dict[int, Closed] = {}
        self._is_won = False
        self._heard: set[MultipathConnection] = set()

    @property
    def over(self) -> bool:
        """Whether every attempt failed and there is nothing left to try."""
        return not self._attempts and not self._untried

    @property
    def failures(self) -> dict[int, Closed]:
        """How the last handshake with each server failed, by its place; no entry: none did."""
        return dict(self._failures)

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
            self._asked, self._next_at = -1, now
        return [attempt.connection for attempt in dead]

    def next_uplink(self, now: float) -> Uplink | None:
        """The uplink to be tried now, if it is time for one."""
        nearer, further = self._waiting()
        if further and (self._next_server_at <= now or not (nearer or self._attempts)):
            return further[0]
        return nearer[0] if nearer and self._next_at <= now else None

    def begins(self, uplink: Uplink) -> bool:
        """Whether its server was not asked before."""
        return uplink.server > self._asked

    def started(self, connection: MultipathConnection, uplink: Uplink, now: float) -> None:
        self._untried.remove(uplink)
        self._tried.add(uplink)
        self._attempts[connection] = Attempt(connection, uplink, now + ATTEMPT_TIMEOUT)
        self._next_at = now + HEAD_START
        if self.begins(uplink):
            self._asked, self._next_server_at = uplink.server, now + SERVER_HEAD_START

    def heard(self, connection: MultipathConnection) -> None:
        """The server sent something to this one."""
        self._heard.add(connection)

    def again(self, socket: int, remote: Endpoint, now: float) -> list[MultipathConnection]:
        """The server can be reached there again: begin anew where nothing was heard of it, for the next packet of such
        an attempt would come late; returns the connections that are over."""
        here = (socket, remote)
        attempts = [one for one in self._attempts.values() if (one.uplink.socket, one.uplink.remote) == here]
        deaf = [one for one in attempts if one.connection not in self._heard]
        for attempt in deaf:
            del self._attempts[attempt.connection]
            self._tried.discard(attempt.uplink)
            self._untried.insert(0, attempt.uplink)
            self._next_at = now
        return [attempt.connection for attempt in deaf]

    def took(self, connection: MultipathConnection, now: float) -> float:
        """Seconds since this attempt began."""
        return now - (self._attempts[connection].give_up_at - ATTEMPT_TIMEOUT)

    def won(self, connection: MultipathConnection) -> Uplink:
        """This connection finished its handshake; the rest stay in attempts() to be closed."""
        self._untried.clear()
        self._is_won = True
        return self._attempts.pop(connection).uplink

    def lost(self, connection: MultipathConnection, failure: Closed) -> None:
        """This connection failed: the next may start at once. What is closed as another one has won did not fail."""
        attempt = self._attempts.pop(connection, None)
        if attempt is not None and not self._is_won:
            self.failure = self._failures[attempt.uplink.server] = failure
            self._next_at = 0.0

    def expired(self, now: float) -> list[MultipathConnection]:
        """The connections that had their time, already forgotten here."""
        late = [attempt for attempt in self._attempts.values() if attempt.give_up_at <= now]
        for attempt in late:
            self.lost(attempt.connection, Closed(f"no answer from {_text(attempt.uplink.remote)}"))
        return [attempt.connection for attempt in late]

    def next_timeout(self) -> float | None:
        times = [attempt.give_up_at for attempt in self._attempts.values()]
        nearer, further = self._waiting()
        if nearer or self.over:
            times.append(self._next_at)
        if further:
            times.append(self._next_server_at if nearer or self._attempts else 0.0)
        return min(times, default=None)

    def _waiting(self) -> tuple[list[Uplink], list[Uplink]]:
        """The uplinks that were not tried yet: of servers that are asked already, and of the next one."""
        nearer = [uplink for uplink in self._untried if uplink.server <= self._asked]
        place = min((uplink.server for uplink in self._untried if uplink.server > self._asked), default=None)
        return nearer, [uplink for uplink in self._untried if uplink.server == place]


def _text(remote: tuple[str, int]) -> str:
    host, port = remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
