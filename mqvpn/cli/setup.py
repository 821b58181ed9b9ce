"""mqvpn-setup: the first start of a server and of a client, so that a tunnel is five commands away.

`server` makes what a server needs and prints what a client needs; `client NAME` takes that in. Neither asks for
anything the machine can tell, and neither writes over a file. What goes to stdout can be piped into the other.
"""

import argparse
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mqvpn.cli.options import add_settings
from mqvpn.cli.place import Failed, say
from mqvpn.config.errors import ConfigError
from mqvpn.config.table import CLIENT, SERVER
from mqvpn.config.values import host_name
from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.certificate import pin, read_pem

DIRECTORY = "etc/mqvpn"
INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
TAKEN = ("server", "lockdown")
CLIENT_FLAGS = ("server_addr", "tls_server_name", "pins", "ca_file", "auth_key", "paths")
EXAMPLES = """\
On the server:  mqvpn-setup server --name vpn.example.com > home.conf
                systemctl enable --now mqvpn-server
On the client:  mqvpn-setup client home < home.conf
                systemctl enable --now mqvpn-client@home

home.conf holds the client's key: carry it over a channel that nobody reads, and remove it then.
Files that exist are never changed. Exit status: 0 done, 1 failed, 2 wrong usage.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """`mqvpn-setup`. Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except (Failed, ConfigError) as error:
        say(str(error))
        return 1
    except PermissionError as error:
        say(f"{error.filename}: {error.strerror}; run it as root")
        return 1
    except OSError as error:
        say(f"{error.filename or 'standard output'}: {error.strerror}")
        return 1
    return os.EX_OK


def build_parser() -> argparse.ArgumentParser:
    """The parser of mqvpn-setup, and of each of its verbs."""
    parser = argparse.ArgumentParser(
        prog="mqvpn-setup",
        description="Make the first configuration of a server or a client of mqvpn.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    helps = "key, certificate and server.conf; prints the first client's file"
    _add_server(verbs.add_parser("server", allow_abbrev=False, help=helps))
    _add_client(verbs.add_parser("client", allow_abbrev=False, help="client-NAME.conf, from what the server printed"))
    show = verbs.add_parser("pin", allow_abbrev=False, help="print the pin of a certificate")
    show.add_argument("certificate", metavar="CERT", nargs="?", help="PEM file (default /etc/mqvpn/server.crt)")
    _add_root(show)
    show.set_defaults(run=show_pin)
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make /etc/mqvpn/server.conf and all it needs; print the configuration of its first client."
    parser.add_argument(
        "--name", action="append", default=[], metavar="NAME", type=host,
        help="host name or address the clients connect to, for the certificate too; may be repeated "
        "(default: what this machine is called)",
    )
    parser.add_argument(
        "--user", default="home", metavar="NAME", type=instance, help="name of the first client (default home)"
    )
    # Their defaults are found out, and are not those of the file.
    rows = [replace(SERVER[name], default=None) for name in ("listen", "subnet", "subnet6", "cert_file", "key_file")]
    add_settings(parser, "settings, where the default does not fit", rows)
    _add_root(parser)
    parser.set_defaults(run=set_up_server)


def _add_client(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make /etc/mqvpn/client-NAME.conf from what `mqvpn-setup server` printed, read from the standard input; "
        "with --server, from the flags alone."
    )
    parser.add_argument("name", metavar="NAME", type=instance, help="the client will be mqvpn-client@NAME")
    parser.add_argument("--from", dest="source", metavar="FILE", help="read it from FILE")
    add_settings(parser, "settings; they win over what is read", [CLIENT[name] for name in CLIENT_FLAGS])
    _add_root(parser)
    parser.set_defaults(run=set_up_client)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="/", type=Path, metavar="DIR", help="write below DIR instead of /")


def instance(text: str) -> str:
    """The name of an instance: part of a unit's name and of a file's."""
    if not INSTANCE.fullmatch(text):
        raise argparse.ArgumentTypeError("a name has letters, digits, '-', '_' and '.', and no sign in front")
    if text in TAKEN:
        raise argparse.ArgumentTypeError(f"no client can be called {text}, as mqvpnctl means something else by it")
    return text


def host(text: str) -> str:
    """A host name or an address."""
    try:
        return host_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def set_up_server(arguments: argparse.Namespace) -> None:
    """`mqvpn-setup server`."""
    from mqvpn.cli.server_files import make_server

    text = make_server(arguments, arguments.root / DIRECTORY, datetime.now(UTC))
    if stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        os.fchmod(sys.stdout.fileno(), 0o600)  # it holds the key
    print(text, end="", flush=True)


def set_up_client(arguments: argparse.Namespace) -> None:
    """`mqvpn-setup client NAME`."""
    from mqvpn.cli.client_file import make_client

    given = {name: getattr(arguments, name) for name in CLIENT_FLAGS if getattr(arguments, name) is not None}
    text, source = "", "command line"
    try:
        if arguments.source:
            source = arguments.source
            text = Path(source).read_text()
        elif "server_addr" not in given:
            source = "standard input"
            if sys.stdin.isatty():
                say("paste what mqvpn-setup server printed, then press Ctrl-D")
            text = sys.stdin.read()
    except UnicodeDecodeError:
        raise Failed(f"{source}: this is no text; give what mqvpn-setup server printed") from None
    make_client(arguments.name, text, source, given, arguments.root / DIRECTORY)


def show_pin(arguments: argparse.Namespace) -> None:
    """`mqvpn-setup pin`."""
    file = Path(arguments.certificate or arguments.root / DIRECTORY / "server.crt")
    try:
        print(pin(read_pem(file.read_bytes())))
    except DecodeError as error:
        raise Failed(f"{file}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
