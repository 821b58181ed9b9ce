"""What `mqvpn-setup client NAME` makes: client-NAME.conf, from what the server printed and what the machine tells."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mqvpn.cli import found
from mqvpn.cli.place import Failed, create, say
from mqvpn.config.compose import compose
from mqvpn.config.file import read_ini
from mqvpn.config.load import load
from mqvpn.config.table import CLIENT

HEAD = "# mqvpn client {name}, made by mqvpn-setup. After a change: systemctl reload mqvpn-client@{name}\n\n"


def make_client(name: str, text: str, source: str, given: Mapping[str, str | list[str]], directory: Path) -> None:
    """Make client-NAME.conf of `text`, an INI file called `source` in messages, and of `given`, which wins.

    Raises Failed, ConfigError, OSError.
    """
    values: dict[str, list[str]] = {}
    for entry in read_ini(source, text):
        if entry.row.name not in CLIENT:
            raise Failed(f"{entry.where}: not a setting of a client; give what mqvpn-setup server printed")
        values.setdefault(entry.row.name, []).extend(entry.values)
    values |= {key: [value] if isinstance(value, str) else list(value) for key, value in given.items()}
    if not values:
        raise Failed(f"{source}: nothing in it; give what mqvpn-setup server printed, or say --server HOST:PORT")
    if "paths" not in values and len(links := found.uplinks()) > 1:
        values["paths"] = links[: CLIENT["paths"].limit]
        say(f"uses all interfaces that have a default route: {', '.join(values['paths'])}")
    settings = load(None, {key: _one_or_many(key, texts) for key, texts in values.items()}, "client")
    file = directory / f"client-{name}.conf"
    create(file, (HEAD.format(name=name) + compose(CLIENT.values(), values)).encode())
    if settings.auth_key is None:
        say("no key: servers let nobody in without; write [Auth] Key = into the file")
    say(f"made {file}; now: systemctl enable --now mqvpn-client@{name}")


def _one_or_many(name: str, texts: Sequence[str]) -> str | Sequence[str]:
    return texts if CLIENT[name].many else texts[-1]
