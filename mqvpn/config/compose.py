"""A commented configuration file from the table of settings: what is set, and what else could be.

A setting that has no value here stands there as a comment with its default, so that the file explains itself.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqvpn.config.setting import Effect, Row

WIDTH = 100
ORDER = ("Server", "Auth", "Interface", "TLS", "Multipath")


def compose(rows: Iterable[Row], values: Mapping[str, Sequence[str]], *, explain: bool = True) -> str:
    """An INI text of `values`, which map a setting's name to texts; read_ini() reads the same values from it.

    explain: also say what each setting does, and which others there are. Raises ValueError for a value that
    cannot be written.
    """
    sections: dict[str, list[str]] = {}
    for row in rows:
        given = values.get(row.name, ())
        if given or (explain and row.effect is Effect.WORKS):
            block = sections.setdefault(row.section, [])
            if explain:
                block += textwrap.wrap(described(row), WIDTH, initial_indent="# ", subsequent_indent="# ")
            block += [f"{row.key} = {_written(text)}" for text in given] or [f"# {row.key} = {example(row)}"]
    first = sorted(sections, key=lambda section: ORDER.index(section) if section in ORDER else len(ORDER))
    return "\n".join("\n".join([f"[{section}]", *sections[section], ""]) for section in first)


def described(row: Row) -> str:
    """What a setting does, in the words of its flag; for one of true and false, said of which."""
    return row.note or (f"{row.flag_value}: {row.help}" if row.flag_value else row.help)


def example(row: Row) -> str:
    """What may stand behind the '=': the default, or the kind of value."""
    return _text(row.default) or row.metavar


def _text(default: Any) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    return "" if default in (None, "", ()) else str(default)


def _written(text: str) -> str:
    if not set(text) & set("#;,\"' "):
        return text
    for quote in ('"', "'"):
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise ValueError("a value with both kinds of quotes cannot be written into the file; put it into a file of its own")
