"""How long to wait before the next attempt: doubling, and spread so that many clients do not come at once."""

import random

AT_ONCE = 1.0  # seconds
LAST = 60.0


class Backoff:
    """`first` seconds (ReconnectInterval), doubling to 60; each wait is half of that up to all of it.

    What worked until now is tried again within a second: mostly the server was only restarted.
    """

    def __init__(self, first: float) -> None:
        self._first = min(first, LAST)
        self._next = self._first

    def reset(self) -> None:
        """An attempt succeeded."""
        self._next = 0.0

    def next(self) -> float:
        """Seconds to wait now."""
        if self._next == 0.0:
            wait, self._next = min(AT_ONCE, self._first), self._first
        else:
            wait, self._next = self._next, min(2 * self._next, LAST)
        return random.uniform(wait / 2, wait)  # noqa: S311 -- nobody must be unable to guess it
