"""Entry points of mqvpn, mqvpn-server and mqvpn-client: flags and file to settings, settings to the
daemon, its result to the exit status. Warnings of the configuration go to stderr, one line each, before
the daemon starts."""

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from os import EX_CONFIG, EX_OK, urandom
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mqvpn.cli.options import build_parser, control_endpoint, overrides
from mqvpn.config.errors import ConfigError

if TYPE_CHECKING:
    from mqvpn.config.client import ClientSettings
    from mqvpn.config.server import ServerSettings

    Settings: TypeAlias = ServerSettings | ClientSettings

KEY_BYTES = 32


def main(argv: Sequence[str] | None = None) -> int:
    """`mqvpn`: a client or a server, as the settings say. Returns the exit status."""
    return command("mqvpn", None, argv)


def server(argv: Sequence[str] | None = None) -> int:
    """`mqvpn-server`."""
    return command("mqvpn-server", "server", argv)


def client(argv: Sequence[str] | None = None) -> int:
    """`mqvpn-client`."""
    return command("mqvpn-client", "client", argv)


def command(prog: str, mode: str | None, argv: Sequence[str] | None) -> int:
    """Parses `argv` (None: sys.argv) and does what it says."""
    parser = build_parser(prog, mode)
    arguments = parser.parse_args(argv)
    if arguments.genkey:
        print(b64encode(urandom(KEY_BYTES)).decode())
        return EX_OK
    if arguments.status:
        return _status(control_endpoint(arguments))
    given = overrides(arguments)
    mode = mode or arguments.mode
    if not (arguments.config or arguments.check or given or mode):
        parser.error("say --config FILE, --server HOST:PORT or --listen BIND:PORT (see --help)")
    if arguments.clean_up:
        return _clean_up(arguments.config, given, mode)
    try:
        settings = _load(arguments.check or arguments.config, given, mode)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    with suppress(OSError):  # a log on a full disk is no reason not to run
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    if arguments.check:
        print(f"{arguments.check}: valid, {'client' if _is_client(settings) else 'server'}")
        return EX_OK
    status = _run(settings, partial(_load, arguments.config, given, mode))
    _give_up_log()
    return status


def _give_up_log() -> None:
    """What could not be written to stderr (a full disk) is lost; else Python tries again and ends with status 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _clean_up(path: str | None, given: dict[str, str | list[str]], mode: str | None) -> int:
    """Without need of a valid configuration: whom it is about is told by the file's name, if it is a unit's."""
    from mqvpn.config.load import instance_of
    from mqvpn.daemon.cleanup import run

    name = instance_of(Path(path)) if path else ""
    if name:
        return run(f"client-{name}")
    if mode == "server":
        return run("server")
    try:
        settings = _load(path, given, mode)
    except ConfigError as error:
        print(f"{error} (cleaning up nevertheless)", file=sys.stderr)
        return run("")
    return run(f"client-{settings.name}" if _is_client(settings) else "server")


def _status(endpoint: str) -> int:
    """As the C mqvpn's --status: over TCP if a control port is given, else of every daemon of this machine."""
    if endpoint:
        from mqvpn.cli.cstatus import show

        return show(endpoint)
    from mqvpn.cli.ctl import main as ctl

    return ctl(["status"])


def _load(path: str | None, given: dict[str, str | list[str]], mode: str | None) -> "Settings":
    from mqvpn.config.load import load  # imports ConfigObj, which --help and --genkey need not wait for

    return load(Path(path) if path else None, given, mode)


def _is_client(settings: "Settings") -> bool:
    return hasattr(settings, "server_addr")


def _run(settings: "Settings", load: "Callable[[], Settings]") -> int:
    from mqvpn.config.client import ClientSettings

    if isinstance(settings, ClientSettings):
        from mqvpn.daemon.client import run as run_client

        return run_client(settings, load)
    from mqvpn.daemon.server import run as run_server

    return run_server(settings, load)


if __name__ == "__main__":
    sys.exit(main())
