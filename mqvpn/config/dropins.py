"""Drop-ins: `FILE.d/*.conf` add to FILE or override it, in the order of their names, as systemd's do.

Of a setting written in several files the last file counts alone: a list there replaces the lists before it, and
an empty value takes back what they said. So a package or a tool can add a file without editing the operator's.
"""

from collections.abc import Sequence
from pathlib import Path

from mqvpn.config.errors import ConfigError
from mqvpn.config.file import read_file
from mqvpn.config.reorder import REPEATED_SECTION
from mqvpn.config.table import Entry, Written


def read_all(path: Path) -> tuple[Written, ...]:
    """FILE and its drop-ins, each as it is written. Raises ConfigError."""
    return tuple(read_file(file) for file in (path, *drop_ins(path)))


def drop_ins(path: Path) -> list[Path]:
    """The drop-ins of a configuration file, in their order. Raises ConfigError."""
    folder = path.with_name(f"{path.name}.d")
    try:
        names = [file.name for file in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None
    return [folder / name for name in sorted(names) if name.endswith(".conf") and not name.startswith(".")]


def join(parts: Sequence[Written]) -> Written:
    """What the files say together."""
    entries: list[Entry] = []
    for part in parts:
        replaced = {_key(entry) for entry in part.entries}
        entries = [entry for entry in entries if _key(entry) not in replaced] + list(part.entries)
    mode = next((part.mode for part in reversed(parts) if part.mode), None)
    return Written(tuple(entry for entry in entries if entry.values), mode)


def _key(entry: Entry) -> tuple[str, str]:
    """What is replaced at once: a key, but the rules of a repeated section only together."""
    section = entry.row.section
    return (section, "" if section == REPEATED_SECTION else entry.row.key)
