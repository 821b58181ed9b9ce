"""One row per setting: `setting()` declares a dataclass field and, in the same place, how it is written
and read.

A field's name is also its name in JSON files and among the command line's overrides. `read_*` functions
turn text into a value or raise ValueError with what to write instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

ROW = "mqvpn.config"


class Effect(Enum):
    """What a setting does in this version."""

    WORKS = "does what its help says"
    WARNS = "known, but has no effect in this version"
    DETAIL = "known, but decides nothing in this version; says nothing itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one setting is written: `[section] key` in INI, `name` in JSON, `flag` on the command line."""

    name: str
    section: str
    key: str
    read: Callable[[str], Any]
    help: str = ""
    note: str = ""  # what files and manuals say in place of `help`, where that speaks of the flag
    flag: str = ""
    metavar: str = ""
    flag_value: str = ""  # set for flags which take no value: what they stand for
    default: Any = None
    limit: int = 1  # how many values; a setting with a limit above 1 may be repeated
    secret: bool = False
    effect: Effect = Effect.WORKS
    remarks: Mapping[str, str] = field(default_factory=dict)  # what to warn about those who write certain values

    @property
    def many(self) -> bool:
        return self.limit > 1

    @property
    def title(self) -> str:
        return f"[{self.section}] {self.key}"


def setting(place: str, read: Callable[[str], Any], *, default: Any = MISSING, **row: Any) -> Any:
    """A dataclass field written as `place`, "[Section] Key"; `row` holds further columns of Row."""
    section, key = place.removeprefix("[").split("] ")
    if default is not MISSING:
        row["default"] = default
    return field(default=default, metadata={ROW: dict(row, section=section, key=key, read=read)})


@cache
def rows(settings: type) -> dict[str, Row]:
    """The rows of a settings class by name, in the order they are declared."""
    return {f.name: Row(name=f.name, **f.metadata[ROW]) for f in fields(settings) if ROW in f.metadata}


def read_boolean(text: str) -> bool:
    """true or false, and the words that people write for them."""
    word = text.lower()
    if word in ("true", "yes", "1", "on"):
        return True
    if word in ("false", "no", "0", "off"):
        return False
    raise ValueError("write true or false")


def read_path(text: str) -> str:
    """A file's name; whether it can be opened is found out by the one who opens it."""
    if not text.isprintable():
        raise ValueError("a file name is expected")
    return text


def read_integer(low: int, high: int, *, also: int | None = None) -> Callable[[str], int]:
    """Numbers from low to high, and the single value `also`."""
    allowed = f"a number from {low} to {high}" + ("" if also is None else f", or {also}")

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise ValueError(f"write {allowed}")
        value = int(text)
        if value != also and not low <= value <= high:
            raise ValueError(f"{value} is out of range; write {allowed}")
        return value

    return read


def read_choice(*words: str) -> Callable[[str], str]:
    """One of the words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"write one of {', '.join(words)}")
        return text.lower()

    return read


def read_network(
    version: int | None, shortest: int, longest: int
) -> Callable[[str], IPv4Network | IPv6Network]:
    """A prefix such as 10.0.0.0/24 of that IP version (None: either); host bits are cleared."""
    example = "2001:db8:1::/112" if version == 6 else "10.0.0.0/24"

    def read(text: str) -> IPv4Network | IPv6Network:
        if text.count("/") != 1:
            raise ValueError(f"ADDRESS/PREFIX is expected, such as {example}")
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"this is not an IP network; write it like {example}") from None
        if not plain_address(network.network_address) or version not in (None, network.version):
            raise ValueError(f"an IPv{version or 4} network is expected, such as {example}")
        if not shortest <= network.prefixlen <= longest:
            raise ValueError(f"the prefix length is /{network.prefixlen}; write /{shortest} to /{longest}")
        return network

    return read


def plain_address(address: object) -> bool:
    """Whether an address can be named on any host: an IPv6 zone (%eth0) means something on one only."""
    return not (isinstance(address, IPv6Address) and address.scope_id)
