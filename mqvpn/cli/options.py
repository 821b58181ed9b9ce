"""The command line's flags, made from the table of settings, so that flag, key, default and help cannot
differ."""

import argparse
from collections.abc import Callable, Iterable

from mqvpn.cli.printversion import PrintVersion
from mqvpn.config.inert import INERT
from mqvpn.config.setting import Row
from mqvpn.config.table import CLIENT, SERVER

EXAMPLES = """\
The command line overrides the file. Whether to be a client or a server is found from what is set.

  mqvpn --genkey > auth.key
  mqvpn --listen 0.0.0.0:443 --cert server.crt --key server.key --auth-key file:/etc/mqvpn/auth.key
  mqvpn --server vpn.example.com:443 --path eth0 --path wlan0 --auth-key file:/etc/mqvpn/auth.key
  mqvpn --config /etc/mqvpn/client-home.conf

"""
STATUSES = """\
Exit status: 0 ended as asked, 1 failed, 2 wrong usage, 69 server unreachable (with --no-reconnect),
74 its undo journal cannot be written, 77 refused by the server, 78 wrong configuration.
"""


def build_parser(prog: str, mode: str | None) -> argparse.ArgumentParser:
    """The parser of a command; with a mode, of one that is always a client or always a server."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [--config FILE] [option ...]",
        description="Multipath VPN: CONNECT-IP (RFC 9484) over Multipath QUIC.",
        epilog=EXAMPLES + STATUSES if mode is None else STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-C", "--config", metavar="FILE", help="configuration, INI or JSON")
    if mode is None:
        parser.add_argument("--mode", choices=("client", "server"), help="only if the settings do not tell")
    parser.add_argument("--check", metavar="FILE", help="say whether a configuration is valid, and exit")
    parser.add_argument(
        "--clean-up", action="store_true", help="undo what a daemon that was killed left on this machine, and exit"
    )
    parser.add_argument("--genkey", action="store_true", help="print a fresh key, and exit")
    parser.add_argument("--status", action="store_true", help="show how the daemons here are (see mqvpnctl), and exit")
    parser.add_argument("--version", action=PrintVersion, help="print the version, and exit")
    shared = [row for name, row in SERVER.items() if name in CLIENT]
    add_settings(parser, "client and server", shared)
    if mode != "server":
        add_settings(parser, "client", [row for name, row in CLIENT.items() if name not in SERVER])
    if mode != "client":
        server = add_settings(parser, "server", [row for name, row in SERVER.items() if name not in CLIENT])
        server.add_argument("--control-port", metavar="PORT", help="TCP port of the C mqvpn's control interface")
        server.add_argument("--control-addr", metavar="ADDRESS", help="its address (default 127.0.0.1)")
    add_settings(parser, "known, but not available yet", [row for row in INERT if row.flag])
    return parser


def overrides(arguments: argparse.Namespace) -> dict[str, str | list[str]]:
    """The settings given on the command line, as load() takes them."""
    ours = {"config", "mode", "check", "clean_up", "genkey", "status", "version", "control_addr", "control_port"}
    given = {name: value for name, value in vars(arguments).items() if name not in ours and value is not None}
    if listen := control_endpoint(arguments):
        given["control_listen"] = listen
    return given


def control_endpoint(arguments: argparse.Namespace) -> str:
    """HOST:PORT of the C mqvpn's control interface, as the flags say; empty: they do not."""
    port = getattr(arguments, "control_port", None)
    if port in (None, "0"):  # 0 switches it off, as in the C mqvpn
        return ""
    host = arguments.control_addr or "127.0.0.1"
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def add_settings(parser: argparse.ArgumentParser, title: str, rows: Iterable[Row]) -> argparse._ArgumentGroup:
    """Add a group of flags, one for each row that has one; each leaves its text under the setting's name."""
    group = parser.add_argument_group(title)
    for row in (row for row in rows if row.flag):
        if row.flag_value:
            group.add_argument(
                row.flag, dest=row.name, action="store_const", const=row.flag_value, help=row.help
            )
        else:
            group.add_argument(
                row.flag,
                dest=row.name,
                metavar=row.metavar,
                help=row.help + _default(row),
                type=_checked(row),
                action="append" if row.many else "store",
            )
    return group


def _default(row: Row) -> str:
    return "" if row.default in (None, 0, "", ()) else f" (default {row.default})"


def _checked(row: Row) -> Callable[[str], str]:
    """The text itself if it can be read, else a usage error. Secrets are left to load()."""

    def check(text: str) -> str:
        try:
            if not row.secret:
                row.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check
