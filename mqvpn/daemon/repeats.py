"""Lines that repeat are logged a few times, then counted: a path that flaps, or a stranger who tries, must not fill the
journal. The count follows with the first line that comes when the time is over, whatever that line says."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL = 30.0  # seconds
BURST = 5  # equal lines in one interval
MAX_LINES = 512  # that are remembered

Key = tuple[str, int, str]


@dataclass(slots=True)
class Line:
    """One line since the time `begin`: how often it came, how often it was held back."""

    begin: float
    seen: int = 0
    held: int = 0


class Repeats(logging.Filter):
    """The filter of `handler`, through which the counts go, too. `clock` never steps, unlike the time of a record."""

    def __init__(self, handler: logging.Handler, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._handler = handler
        self._lines: dict[Key, Line] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        now = self._clock()
        self._tell_counts(now)
        key = (record.name, record.levelno, record.getMessage())
        line = self._lines.setdefault(key, Line(now))
        line.seen += 1
        if line.seen > BURST:
            line.held += 1
            return False
        return True

    def _tell_counts(self, now: float) -> None:
        full = len(self._lines) >= MAX_LINES
        over = [key for key, line in self._lines.items() if full or now - line.begin >= INTERVAL]
        lines = {key: self._lines.pop(key) for key in over}
        for (name, level, message), line in lines.items():
            if line.held:
                text = f"{message} ({line.held} more times in {now - line.begin:.0f} s)"
                self._handler.handle(logging.LogRecord(name, level, __file__, 0, text, None, None))
