"""JSON configuration as the C mqvpn reads it: the same settings under snake_case names, lists as arrays,
and [Reorder], [Hybrid] and the [ReorderRule]s as objects of their own. Messages name the line on which a
top-level name first stands."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from mqvpn.config.errors import ConfigError
from mqvpn.config.reorder import REPEATED_SECTION
from mqvpn.config.setting import Row
from mqvpn.config.table import JSON_OBJECTS, Entry, find_name

OLD_NAMES = {"server_auth_key": "auth_key"}


def read_json(path: str, text: str) -> tuple[tuple[Entry, ...], str | None]:
    """The entries, also those without a value, and the mode (None if not given). Raises ConfigError."""
    source = Source(path, text)
    document = _parse(source)
    mode = document.pop("mode", None)
    if mode not in (None, "client", "server"):
        raise ConfigError(f'{source.where("mode")}: write "client" or "server"')
    return tuple(_entries(source, document)), mode


@dataclass(frozen=True, slots=True)
class Source:
    """The file, for messages."""

    path: str
    text: str

    def where(self, name: str, inner: str = "") -> str:
        """file:line: name.inner; the line is 1 if the name is not written plainly."""
        found = re.search(rf'"{re.escape(name)}"\s*:', self.text)
        line = self.text.count("\n", 0, found.start()) + 1 if found else 1
        return f"{self.path}:{line}: {'.'.join(filter(None, (name, inner)))[:128]}"


def _parse(source: Source) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [OLD_NAMES.get(name, name) for name, _ in pairs]
        for name, count in Counter(names).items():
            if count > 1:
                raise ConfigError(f"{source.where(name)}: given twice; keep one of them")
        return dict(zip(names, (value for _, value in pairs), strict=True))

    try:
        # Numbers stay text: each setting reads its own, and says what it expects.
        document = json.loads(
            source.text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str
        )
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source.path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{source.path}: not a configuration: too many brackets within brackets") from None
    return cast(dict[str, object], document)  # the text begins with {


def _entries(source: Source, document: dict[str, object]) -> Iterator[Entry]:
    for name, value in document.items():
        section = JSON_OBJECTS.get(name)
        if section is None:
            where = source.where(name)
            yield _entry(find_name(name, where), where, value)
            continue
        if section == REPEATED_SECTION and not isinstance(value, list):
            raise ConfigError(f"{source.where(name)}: an array of objects is expected")
        items = value if isinstance(value, list) and section == REPEATED_SECTION else [value]
        for number, item in enumerate(items, 1):
            if not isinstance(item, dict):
                raise ConfigError(f"{source.where(name)}: an object in braces is expected")
            for inner, inner_value in item.items():
                where = source.where(name, inner)
                rule = number if section == REPEATED_SECTION else 0
                yield _entry(find_name(inner, where, section), where, inner_value, rule)


def _entry(row: Row, where: str, value: object, rule: int = 0) -> Entry:
    if row.many:
        items = value if isinstance(value, list) else [value]
    else:
        items = [value]
    return Entry(row, where, tuple(text for text in (_text(where, row, item) for item in items) if text), rule)


def _text(where: str, row: Row, value: object) -> str:
    """A value as INI would write it; a user may be an object with a name and a key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.strip()
    if row.name == "users" and isinstance(value, dict) and value.keys() == {"name", "key"}:
        name, key = value["name"], value["key"]
        if isinstance(name, str) and isinstance(key, str) and ":" not in name:
            return f"{name}:{key}"
    if row.name == "users":
        raise ConfigError(f'{where}: each user is {{"name": "NAME", "key": "KEY"}} or "NAME:KEY"')
    expected = "a text or an array of texts" if row.many else "one text, number, true or false"
    raise ConfigError(f"{where}: {expected} is expected")
