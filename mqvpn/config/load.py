"""load(): a file and the command line, together, as ServerSettings or ClientSettings.

The command line wins over the file. Whether this is a server or a client is said by `--mode` or JSON's
"mode", or follows from what is set: an Address to connect to makes a client, Listen or a certificate a
server.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.credential import PREFIX
from mqvpn.config.dropins import join, read_all
from mqvpn.config.errors import ConfigError
from mqvpn.config.reorder import MAX_RULES, SECTIONS, ReorderRule, resolve
from mqvpn.config.routes import check_routes
from mqvpn.config.server import ServerSettings
from mqvpn.config.setting import Effect, Row
from mqvpn.config.table import CLIENT, SERVER, Entry, find_name
from mqvpn.config.values import PathSetting, User

INSTANCE = re.compile(r"client-([A-Za-z0-9:_.\\@-]+)\.conf")  # the characters of a unit's instance
RESERVED = "lockdown"  # whose block mqvpn-lockdown.service puts up
NO_MODE = "write [Server] Address (or --server) for a client, [Interface] Listen (or --listen) for a server"
EXPOSED = "holds a key and can be read by every user; run: chmod o-rwx"
ON_ARGV = "every user of this machine can see the key in ps; write it to a file and give file:/PATH instead"


def load(
    path: Path | None, overrides: Mapping[str, str | Sequence[str]] | None = None, mode: str | None = None
) -> ServerSettings | ClientSettings:
    """Settings from a file with its drop-ins (None: no file) and from `overrides`: text as in INI by a setting's name.

    `mode` is "client", "server" or None to find out. Raises ConfigError; lesser matters are in `.warnings`.
    """
    files = read_all(path) if path else ()
    written = join(files)
    given = [_override(name, value) for name, value in (overrides or {}).items()]
    overridden = {entry.row.name for entry in given}
    entries = [entry for entry in written.entries if entry.row.name not in overridden] + given
    source = str(path) if path else "command line"
    mode = mode or written.mode or _mode(entries, source)
    _refuse_client_file(entries, mode)
    values, warnings = _values(entries, SERVER if mode == "server" else CLIENT, mode)
    values["reorder"] = _reorder(entries)
    values["instance"] = instance_of(path)
    if mode == "client" and values["instance"] == RESERVED:
        raise ConfigError(f"{source}: a client cannot have the name of mqvpn-lockdown; rename the file")
    if mode == "client" and values["instance"]:
        values.setdefault("tun_name", tun_name(values["instance"]))
    for file in files:
        if file.exposed and any(_holds_secret(entry) for entry in file.entries):
            raise ConfigError(f"{file.source}: {EXPOSED} {file.source}")
    warnings += [f"{entry.where}: {ON_ARGV}" for entry in given if _holds_secret(entry)]
    return _server(values, warnings, source) if mode == "server" else _client(values, warnings, source)


def instance_of(path: Path | None) -> str:
    """The NAME of client-NAME.conf; empty: the file is none of that kind."""
    match = INSTANCE.fullmatch(path.name) if path else None
    return match[1] if match else ""


def tun_name(instance: str) -> str:
    """Clients of different names may run side by side, each with an interface of its own."""
    return ("mq-" + re.sub(r"[^A-Za-z0-9_.-]", "_", instance))[:15]  # IFNAMSIZ


def _override(name: str, value: str | Sequence[str]) -> Entry:
    row = find_name(name, name)
    return Entry(row, row.flag or name, (value,) if isinstance(value, str) else tuple(value))


def _mode(entries: Iterable[Entry], source: str) -> str:
    names = {entry.row.name for entry in entries}
    if "server_addr" in names and "listen" in names:
        raise ConfigError(f"{source}: both [Server] Address and [Interface] Listen; keep one or say --mode")
    if "server_addr" in names:
        return "client"
    if names & {"listen", "cert_file", "key_file"}:
        return "server"
    raise ConfigError(f"{source}: {NO_MODE}")


def _refuse_client_file(entries: Iterable[Entry], mode: str) -> None:
    """A server must not start, with defaults for all it needs, on what was written for a client."""
    by_name = {entry.row.name: entry for entry in entries}
    if mode == "server" and "server_addr" in by_name and "listen" not in by_name:
        raise ConfigError(f"{by_name['server_addr'].where}: makes this a client; remove it, or run a client")


def _values(
    entries: Iterable[Entry], wanted: Mapping[str, Row], mode: str
) -> tuple[dict[str, Any], list[str]]:
    """The settings' values by name, and the warnings, in the order of the file."""
    values: dict[str, Any] = {}
    warnings: dict[str, str] = {}  # one for each setting
    for entry in entries:
        row = entry.row
        read = [_read(entry, text, warnings) for text in entry.values]
        if row.effect is Effect.WARNS and any(read):
            warnings.setdefault(row.title, f"{entry.where}: has no effect in this version")
        if row.name in wanted:
            values[row.name] = _joined(entry, values.get(row.name, ()), read) if row.many else read[0]
        elif row.name in SERVER or row.name in CLIENT:
            other = "client" if mode == "server" else "server"
            warnings.setdefault(row.title, f"{entry.where}: has an effect on a {other} only")
    return values, list(warnings.values())


def _reorder(entries: Iterable[Entry]) -> tuple[ReorderRule, ...]:
    """[Reorder] and its rules, whose values can be read."""
    grouped: dict[int, dict[str, Any]] = {}
    for entry in entries:
        if entry.row.section in SECTIONS:
            grouped.setdefault(entry.rule, {})[entry.row.name] = entry.row.read(entry.values[0])
            if len(grouped.keys() - {0}) > MAX_RULES:
                raise ConfigError(f"{entry.where}: more than {MAX_RULES} rules are given; remove some")
    return resolve(grouped.pop(0, {}), grouped.values())


def _read(entry: Entry, text: str, warnings: dict[str, str]) -> Any:
    try:
        value = entry.row.read(text)
    except ValueError as error:
        raise ConfigError(f"{entry.where}: {error}") from None
    remark = entry.row.remarks.get(value) if isinstance(value, str) else None
    if remark is not None:
        warnings.setdefault(entry.row.title, f"{entry.where}: {value}: {remark}")
    return value


def _joined(entry: Entry, before: Sequence[Any], read: Sequence[Any]) -> tuple[Any, ...]:
    joined = (*before, *read)
    names = {_name(value) for value in joined}
    if len(names) < len(joined):
        raise ConfigError(f"{entry.where}: the same one is given twice; keep one of them")
    if len(joined) > entry.row.limit:
        raise ConfigError(f"{entry.where}: more than {entry.row.limit} are given; remove some")
    return joined


def _name(value: Any) -> Any:
    """What may stand only once in a list."""
    if isinstance(value, User):
        return value.name
    return value.interface if isinstance(value, PathSetting) else value


def _holds_secret(entry: Entry) -> bool:
    """Whether the key itself is written there, not the name of a file which holds it."""
    elsewhere = ("file:", PREFIX)
    return entry.row.secret and any(
        not text.startswith(elsewhere) and not text.partition(":")[2].strip().startswith(elsewhere)
        for text in entry.values
    )


def _server(values: dict[str, Any], warnings: list[str], source: str) -> ServerSettings:
    if not values.get("auth_key") and not values.get("users"):
        raise ConfigError(
            f"{source}: [Auth] Key: missing, and a server without any key would let everybody in; "
            "write Key = or User = NAME:KEY with what mqvpn --genkey prints"
        )
    _replace_fec(values)
    return ServerSettings(**values, warnings=tuple(warnings))


def _client(values: dict[str, Any], warnings: list[str], source: str) -> ClientSettings:
    if "server_addr" not in values:
        raise ConfigError(f"{source}: [Server] Address: missing; write Address = HOST:PORT (or say --server)")
    values["server_addr"], *more = values["server_addr"]
    values["more_servers"] = tuple(more)
    _check_dns(values, source)
    warnings += check_routes(values, source)
    if values.get("insecure"):
        for name in ("pins", "ca_file"):
            if values.get(name):
                raise ConfigError(f"{source}: {CLIENT[name].title}: of no use with Insecure = true; remove that line")
        warnings.append(
            "[Server] Insecure: the server's certificate is not verified, so anybody on the way can read and "
            "change all traffic; for tests only: write Pin = in its place"
        )
    _replace_fec(values)
    return ClientSettings(**values, warnings=tuple(warnings))


def _replace_fec(values: dict[str, Any]) -> None:
    """backup_fec: minrtt, and all paths but the first are backups unless they say otherwise."""
    if values.get("scheduler") != "backup_fec":
        return
    values["scheduler"] = "minrtt"
    if "paths" in values:
        first, *others = values["paths"]
        values["paths"] = (first, *(path if path.role else replace(path, role="backup") for path in others))


def _check_dns(values: dict[str, Any], source: str) -> None:
    """Settings of DNS that cannot be had together."""
    lonely = [CLIENT[name].title for name in ("domains", "dns_over_tls") if values.get(name) and not values.get("dns")]
    if lonely:
        raise ConfigError(f"{source}: {lonely[0]}: needs name servers; write DNS = ADDRESS too, or remove it")
    if values.get("dns_over_tls") == "yes" and values.get("dns_mode") in ("resolvconf", "file"):
        raise ConfigError(
            f"{source}: [Interface] DNSOverTLS: only systemd-resolved can ask over TLS; remove it, or DNSMode"
        )
