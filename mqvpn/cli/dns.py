"""`mqvpn-dns`: puts /etc/resolv.conf back, and does what systemd's mqvpn-dns.socket hands to it."""

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    arguments = build_parser().parse_args(argv)
    from mqvpn.daemon import dnshelper

    return dnshelper.serve() if arguments.verb == "serve" else dnshelper.restore(arguments.instance)


def build_parser() -> argparse.ArgumentParser:
    """The parser of mqvpn-dns and its verbs."""
    parser = argparse.ArgumentParser(
        prog="mqvpn-dns",
        description="DNS of mqvpn's clients in /etc/resolv.conf or resolvconf, for machines without systemd-resolved.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="serve|restore")
    verbs.add_parser("serve", help="answer one request on standard input; systemd starts this")
    restore = verbs.add_parser("restore", help="put back what a client changed that cannot do so itself any more")
    restore.add_argument("instance", nargs="?", metavar="INSTANCE", help="the client's instance (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
