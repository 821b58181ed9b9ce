#!/usr/bin/env python3
"""The manual pages: prose from the .in files beside this, flags and settings from the program's own tables.

    packaging/man/generate.py DIRECTORY    writes every page into it

A line `@flags COMMAND` in a page is replaced by the flags of a command (as `mqvpn` or `mqvpn-setup client`),
`@verbs COMMAND` by its verbs, `@settings SIDE SECTION` by the settings of a section that a server, a client or both
have, `@inert` by the keys that are read for the C program's sake.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from mqvpn.cli import ctl, dns, options, setup  # noqa: E402
from mqvpn.config.compose import described, example  # noqa: E402
from mqvpn.config.inert import INERT  # noqa: E402
from mqvpn.config.reorder import REORDER  # noqa: E402
from mqvpn.config.setting import Effect, Row  # noqa: E402
from mqvpn.config.table import CLIENT, SERVER  # noqa: E402

UNBROKEN = {"break_long_words": False, "break_on_hyphens": False}
PARSERS = {
    "mqvpn": lambda: options.build_parser("mqvpn", None),
    "mqvpn-server": lambda: options.build_parser("mqvpn-server", "server"),
    "mqvpn-client": lambda: options.build_parser("mqvpn-client", "client"),
    "mqvpn-setup": setup.build_parser,
    "mqvpn-dns": dns.build_parser,
    "mqvpnctl": ctl.build_parser,
}


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {source.stem: render(source.read_text()) for source in sorted(HERE.glob("*.in"))}


def render(source: str) -> str:
    """A page's source with its @ lines replaced, and its text in lines of 80 bytes."""
    lines, literal = [], False
    for line in (line for given in source.splitlines() for line in _expand(given)):
        literal = line.startswith(".Bd -literal") or (literal and line != ".Ed")
        lines += [line] if literal or line[:1] == "." else textwrap.wrap(line, 80, **UNBROKEN) or [line]
    return "".join(f"{line}\n" for line in lines)


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command, or of a verb of one: `mqvpn-setup client`."""
    program, *verbs = command.split()
    found = PARSERS[program]()
    for verb in verbs:
        found = _subparsers(found).choices[verb]
    return found


def settings(side: str, section: str) -> list[Row]:
    """The settings of a section: of the `server`, the `client` or `both`."""
    if side == "both":
        rows = [*(row for name, row in SERVER.items() if name in CLIENT), *REORDER]
    else:
        mine, other = (SERVER, CLIENT) if side == "server" else (CLIENT, SERVER)
        rows = [row for name, row in mine.items() if name not in other]
    return [row for row in rows if row.section == section and row.effect is Effect.WORKS]


def _expand(line: str) -> Iterable[str]:
    match line.split():
        case ["@flags", *command]:
            return _flags(parser(" ".join(command)))
        case ["@verbs", command]:
            return _verbs(parser(command))
        case ["@settings", side, section]:
            return _settings(settings(side, section))
        case ["@inert"]:
            return _inert()
    return [line]


def _flags(of: argparse.ArgumentParser) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        shown = [_flag(name, action) for name in action.option_strings] or [f"Ar {_escaped(action.metavar)}"]
        yield f".It {' , '.join(shown)}"
        yield from _sentence(action.help or "")
    yield ".El"


def _verbs(of: argparse.ArgumentParser) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for action in _subparsers(of)._choices_actions:
        yield f".It Cm {_escaped(action.dest)}"
        yield from _sentence(action.help or "")
    yield ".El"


def _subparsers(of: argparse.ArgumentParser) -> Any:
    return next(action for action in of._actions if isinstance(action, argparse._SubParsersAction))


def _flag(name: str, action: argparse.Action) -> str:
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    return f"Fl {_escaped(name[1:])}" + (f" Ar {_escaped(value)}" if value else "")


def _settings(rows: Iterable[Row]) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for row in rows:
        kind = row.metavar or ("true|false" if isinstance(row.default, bool) else "N")
        yield f".It Li {row.key} = Ar {_escaped(kind)}"
        yield from _sentence(("with " if row.flag_value else "") + described(row))
        if isinstance(row.default, bool) or row.default not in (None, "", ()):
            yield f"The default is {_escaped(example(row))}."
        if row.flag:
            yield f"On the command line: {_escaped(row.flag)}."
    yield ".El"


def _inert() -> Iterator[str]:
    sections: dict[str, list[str]] = {}
    for row in (*SERVER.values(), *CLIENT.values(), *REORDER, *INERT):
        if row.effect is not Effect.WORKS:
            keys = sections.setdefault(row.section, [])
            keys += [row.key] if row.key not in keys else []
    yield ".Bl -tag -width Ds"
    for section, keys in sections.items():
        yield f".It [{section}]"
        yield _escaped(", ".join(keys)) + "."
    yield ".El"


def _sentence(text: str) -> Iterator[str]:
    """Text as lines of mdoc: a capital, a full stop, a new line for each sentence."""
    text = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
    yield from (_escaped(part) for part in re.split(r"(?<=[.;]) (?=[A-Za-z(])", text))


def _escaped(text: object) -> str:
    r"""Without meaning for roff: no control character in front, \ and - as they are typed."""
    escaped = str(text).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in ".'" else escaped


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    directory = Path(argv[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
