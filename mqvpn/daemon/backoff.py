"""How long to wait before the next attempt: doubling, and spread so that many clients do not come at once."""

import random

from mqvpn.tunnel.events import Cause

RESTARTED = 0.3  # seconds, at most: the server is there and does not know us any more
AT_ONCE = 1.0
LAST = 60.0
REPLACED = 60.0  # two clients with one instance must not take the tunnel from each other in turns
REPLACED_LAST = 3600.0


class Backoff:
    """`first` seconds (ReconnectInterval), doubling to 60; each wait is half of that up to all of it.

    What worked until now is tried again within a second: mostly the server was only restarted.
    """

    def __init__(self, first: float) -> None:
        self._first = min(first, LAST)
        self._next = self._first
        self._replaced = REPLACED

    def reset(self) -> None:
        """An attempt succeeded."""
        self._next = 0.0

    def next(self, cause: Cause = Cause.LOST) -> float:
        """Seconds to wait now, after an attempt or a tunnel that ended by `cause`."""
        if cause is Cause.FORGOTTEN and self._next == 0.0:
            return random.uniform(0.0, RESTARTED)  # noqa: S311 -- nobody must be unable to guess it
        if cause is Cause.REPLACED:
            wait, self._replaced = self._replaced, min(2 * self._replaced, REPLACED_LAST)
        elif self._next == 0.0:
            wait, self._next = min(AT_ONCE, self._first), self._first
        else:
            wait, self._next = self._next, min(2 * self._next, LAST)
        return random.uniform(wait / 2, wait)  # noqa: S311 -- the same
