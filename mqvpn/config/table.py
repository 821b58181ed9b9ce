"""Every key that may be written, found by section and key (INI, in any case) or by scope and name (JSON)."""

from dataclasses import dataclass

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError, suggest
from mqvpn.config.inert import INERT
from mqvpn.config.reorder import REORDER, REPEATED_SECTION
from mqvpn.config.server import ServerSettings
from mqvpn.config.setting import Row, rows

SERVER = rows(ServerSettings)
CLIENT = rows(ClientSettings)
ROWS = (*SERVER.values(), *(row for name, row in CLIENT.items() if name not in SERVER), *REORDER, *INERT)
# JSON keeps these sections' keys in objects of their own; all other names are at the top level.
JSON_OBJECTS = {"reorder": "Reorder", "hybrid": "Hybrid", "reorder_rules": REPEATED_SECTION}

_SECTIONS = {row.section.lower(): row.section for row in ROWS}
_BY_KEY = {(row.section, row.key.lower()): row for row in ROWS}
_BY_NAME = {(row.section if row.section in JSON_OBJECTS.values() else "", row.name): row for row in ROWS}


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as it was written: `where` begins every message about it; `rule` is the number of its [ReorderRule],
    each of which stands for itself, else 0."""

    row: Row
    where: str
    values: tuple[str, ...]
    rule: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """What a file says, in its order. `mode`: JSON only; `exposed`: everybody may read the file `source`."""

    entries: tuple[Entry, ...] = ()
    mode: str | None = None
    exposed: bool = False
    source: str = ""


def find_section(name: str, where: str) -> str:
    """The section's name as it is spelt in the documentation."""
    try:
        return _SECTIONS[name.lower()]
    except KeyError:
        hint = suggest(name, _SECTIONS.values())
        raise ConfigError(f"{where}: [{name[:64]}]: unknown section{hint}") from None


def find_key(section: str, key: str, where: str) -> Row:
    """The row of `[section] key`; section as find_section returned it."""
    try:
        return _BY_KEY[section, key.lower()]
    except KeyError:
        here = [row.key for row in ROWS if row.section == section]
        elsewhere = [row.title for row in ROWS if row.key.lower() == key.lower()]
        hint = f"; it belongs to {elsewhere[0]}" if elsewhere else suggest(key, here)
        raise ConfigError(f"{where}: [{section}] {key[:64]}: unknown key{hint}") from None


def find_name(name: str, where: str, scope: str = "") -> Row:
    """The row of a JSON name: at the top level, or within the object of section `scope`."""
    try:
        return _BY_NAME[scope, name]
    except KeyError:
        known = [known for where_, known in _BY_NAME if where_ == scope]
        hint = suggest(name, known if scope else [*known, *JSON_OBJECTS, "mode"])
        raise ConfigError(f"{where}: unknown name{hint}") from None
