"""Reads a configuration file, INI or JSON (first character `{`), as the C mqvpn does; the only importer of
ConfigObj.

ConfigObj knows neither repeated keys nor repeated sections, minds case, and cuts `Key = abc#def` to `abc`.
So each line is checked first and its section and key get the line's number appended: nothing is a
duplicate any more, and the number leads back to the line for every message. A key with an unquoted # or ;
is refused: the C mqvpn would take it whole.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from mqvpn.config.errors import ConfigError
from mqvpn.config.jsonfile import read_json
from mqvpn.config.reorder import REPEATED_SECTION
from mqvpn.config.setting import Row
from mqvpn.config.table import Entry, Written, find_key, find_section

MAX_FILE = 1 << 20
MAX_LINES = 20_000
MAX_LINE = 1024
BLANKS = re.compile(r"\s{64}")  # ConfigObj's expressions take time quadratic in a row of blanks

QUOTES = 'the quotes do not match; quote the whole value, "like this", and each of a list in the same way'
SECTION = re.compile(r"\[([^\[\]]*)\]\s*(?:[#;].*)?")
KEY = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\s*=(.*)")
ITEM = re.compile(r"""\s*("[^"]*"|'[^']*'|(?!["'])[^,]*)\s*(?:,|$)""")


@dataclass(frozen=True, slots=True)
class Line:
    """A `key = value` line whose key is known."""

    row: Row
    where: str
    text: str  # what stands behind the '='
    rule: int  # the line of its [ReorderRule], each of which stands for itself; else 0


def read_file(path: Path) -> Written:
    """The entries of a file. Raises ConfigError."""
    text, exposed = _read_text(path)
    if text.lstrip().startswith("{"):
        entries, mode = read_json(str(path), text)
        return Written(entries, mode, exposed, str(path))
    return Written(read_ini(str(path), text), None, exposed, str(path))


def read_ini(path: str, text: str) -> tuple[Entry, ...]:
    """The entries of an INI text, also those without a value; `path` is named in messages."""
    numbered, lines = _number(path, text)
    try:
        sections = ConfigObj(numbered, interpolation=False, list_values=False, raise_errors=True)
    except ConfigObjError as error:
        # ConfigObj's own text quotes the line, and with it the secret.
        where = lines[error.line_number].where
        raise ConfigError(f"{where}: {QUOTES}") from None
    entries = []
    for section in sections.sections:
        for name in sections[section].scalars:
            line = lines[int(name.rpartition("@")[2])]
            entries.append(_entry(line, sections[section][name]))
    return tuple(entries)


def _read_text(path: Path) -> tuple[str, bool]:
    try:
        with path.open("rb") as file:
            exposed = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE:
        raise ConfigError(f"{path}: larger than 1 MiB; this is not a configuration of mqvpn")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from None
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(f"{path}:{number}: holds a NUL byte; remove it")
    return text, exposed


def _number(path: str, text: str) -> tuple[list[str], dict[int, Line]]:
    """The lines for ConfigObj, numbered from 1 like the file's, and what each `key = value` line is."""
    raw = text.split("\n")
    if len(raw) > MAX_LINES:
        raise ConfigError(f"{path}:{MAX_LINES}: more than {MAX_LINES} lines; shorten the file")
    numbered, lines, section, rule = [], dict[int, Line](), "", 0
    seen: dict[tuple[str, str, int], int] = {}
    for number, content in enumerate((line.strip() for line in raw), 1):
        where = f"{path}:{number}"
        if len(content) > MAX_LINE:
            raise ConfigError(f"{where}: longer than {MAX_LINE} characters; give each value its own line")
        if not content or content[0] in "#;":
            numbered.append("")
        elif content[0] == "[":
            section = _section(content, where)
            rule = number if section == REPEATED_SECTION else 0
            numbered.append(f"[{section}@{number}]")
        else:
            line = _line(content, section, rule, where)
            first = seen.setdefault((section, line.row.key, rule), number)
            if first != number and not line.row.many:
                raise ConfigError(f"{line.where}: given twice, first on line {first}; keep one of them")
            lines[number] = line
            numbered.append(f"{line.row.key}@{number} = {line.text}")
    return numbered, lines


def _section(content: str, where: str) -> str:
    match = SECTION.fullmatch(content)
    if not match:
        raise ConfigError(f"{where}: not a section; write it like [Interface]")
    return find_section(match[1].strip(), where)


def _line(content: str, section: str, rule: int, where: str) -> Line:
    match = KEY.fullmatch(content)
    if not match:
        raise ConfigError(f"{where}: neither [Section] nor Key = value; begin a comment with #")
    if not section:
        raise ConfigError(f"{where}: {match[1][:64]}: stands before any section; write [Interface] above it")
    row, text = find_key(section, match[1], where), match[2].strip()
    where = f"{where}: {row.title}"
    if text.startswith(('"""', "'''")):
        raise ConfigError(f"{where}: a value ends with its line; use single quotes or double quotes once")
    if BLANKS.search(text):
        raise ConfigError(f"{where}: 64 blanks or more in a row; remove them")
    return Line(row, where, text, rule)


def _entry(line: Line, value: str) -> Entry:
    """`value` is what ConfigObj found in line.text: quotes still on, the comment cut off."""
    quoted = value[:1] in ('"', "'")
    if line.row.secret and not quoted and set(line.text) & set("#;"):
        raise ConfigError(
            f"{line.where}: an unquoted # or ; stands in or behind the key; put the key in quotes "
            "if it belongs to it, and a comment on a line of its own"
        )
    if value and line.text[len(value) : len(value) + 1] == "#":
        raise ConfigError(f"{line.where}: a # stands in the value; quote it, or put a blank before a comment")
    values = _items(value) if line.row.many else _single(value)
    if values is None:
        raise ConfigError(f"{line.where}: {QUOTES}")
    return Entry(line.row, line.where, values, line.rule)


def _single(value: str) -> tuple[str, ...] | None:
    if value[:1] not in ('"', "'"):
        return (value,) if value else ()
    inner = value[1:-1]
    if value[0] in inner:
        return None
    return (inner,) if inner else ()


def _items(value: str) -> tuple[str, ...] | None:
    """The parts of a comma list, or None; an empty part counts for nothing."""
    items, position = [], 0
    while position < len(value):
        match = ITEM.match(value, position)
        if not match:
            return None
        items.append(match[1].strip())
        position = match.end()
    return tuple(item[1:-1] if item[0] in "\"'" else item for item in items if item)
