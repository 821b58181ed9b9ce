"""ConfigError: the operator has to change something, and the text says where and what."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(Exception):
    """Text of the form `file:line: [section] key: what is wrong, what to write`. Never holds a secret."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a mistyped word, else nothing."""
    spelling = {name.lower(): name for name in known}
    close = get_close_matches(word.lower()[:64], spelling, n=1, cutoff=0.6)
    return f"; did you mean {spelling[close[0]]}?" if close else ""
