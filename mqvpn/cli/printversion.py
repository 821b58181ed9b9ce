"""--version of every command."""

import argparse
from collections.abc import Sequence
from typing import Any

from mqvpn.version import version


class PrintVersion(argparse.Action):
    """--version: print it, and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"mqvpn {version()}")
        parser.exit()
