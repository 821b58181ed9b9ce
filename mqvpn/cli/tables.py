"""Tables and figures for people: columns that fit the terminal, sizes and rates as they are said."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
GAP = 2
MIN_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `rank` 0 always stays, and the highest goes first when the terminal is narrow."""

    title: str
    key: str
    rank: int = 0
    right: bool = False


Rows = Sequence[Mapping[str, str]]


def table(columns: Sequence[Column], rows: Rows, width: int | None, indent: int = 0) -> list[str]:
    """The lines of a table; `width`: characters of the terminal, None: as wide as it is."""
    kept = list(columns)
    room = None if width is None else max(width - indent, MIN_WIDTH)
    while room is not None and _width(kept, rows) > room and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    widths = [_column_width(column, rows) for column in kept]
    lines = []
    for cells in ([column.title for column in kept], *([row[column.key] for column in kept] for row in rows)):
        parts = [
            cell.rjust(size) if column.right else cell.ljust(size)
            for column, size, cell in zip(kept, widths, cells, strict=True)
        ]
        lines.append(fit(" " * indent + (" " * GAP).join(parts).rstrip(), width))
    return lines


def fit(line: str, width: int | None) -> str:
    """A line for the terminal: cut where it ends, and without characters that would control it."""
    line = "".join(one if one.isprintable() else "?" for one in line)
    return line if width is None or len(line) <= width else line[: max(width - 3, 0)] + "..."


def terminal_width() -> int | None:
    """Characters of a line; None: nobody looks at it."""
    if not sys.stdout.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):  # some shells export a 0
        return int(said)
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def size(count: float) -> str:
    """Bytes as they are said: 999 B, 1.2 kB, 34 MB."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 9.95 else f"{count:.1f} {UNITS[unit]}"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def duration(seconds: float | None) -> str:
    """45s, 12min, 5h, 3d; "-" for None."""
    if seconds is None:
        return "-"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f}{name}"
    return f"{seconds:.0f}s"


def counts(values: Mapping[str, Any]) -> str:
    """`12 queue_delay, 3 no_route`, the largest first; "none" when there are none."""
    found = sorted(values.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in found) or "none"


def _width(columns: Sequence[Column], rows: Rows) -> int:
    return sum(_column_width(column, rows) + GAP for column in columns) - GAP


def _column_width(column: Column, rows: Rows) -> int:
    return max(len(column.title), *(len(row[column.key]) for row in rows), 0)
