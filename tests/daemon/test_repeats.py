"""Equal lines are logged a few times, then counted."""

from __future__ import annotations

import logging

from mqvpn.daemon import repeats
from mqvpn.daemon.repeats import BURST, INTERVAL, Repeats


class Lines(logging.Handler):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.now = 0.0
        self.addFilter(Repeats(self, lambda: self.now))

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def log(self, message: str, at: float, *arguments: object) -> None:
        record = logging.LogRecord("mqvpn.x", logging.INFO, "f", 1, message, arguments, None)
        self.now = at
        self.handle(record)


def test_repeated_lines_are_held_back_and_counted() -> None:
    lines = Lines()
    for number in range(20):
        lines.log("path %d is silent", number * 0.1, 1)
    lines.log("path %d is silent", 3.0, 2)  # another path is another line
    assert lines.messages == ["path 1 is silent"] * BURST + ["path 2 is silent"]
    lines.log("else", INTERVAL)
    assert lines.messages[-2:] == [f"path 1 is silent ({20 - BURST} more times in {INTERVAL:.0f} s)", "else"]
    lines.log("path %d is silent", INTERVAL + 1, 1)
    assert lines.messages[-1] == "path 1 is silent"


def test_slow_repeats_are_all_logged() -> None:
    lines = Lines()
    for number in range(10):
        lines.log("still here", number * INTERVAL)
    assert lines.messages == ["still here"] * 10


def test_memory_is_bounded() -> None:
    lines = Lines()
    for number in range(3 * repeats.MAX_LINES):
        lines.log("attempt %d", 0.0, number)
    assert len(lines.messages) == 3 * repeats.MAX_LINES
    assert len(lines.filters[0]._lines) <= repeats.MAX_LINES  # type: ignore[union-attr]
