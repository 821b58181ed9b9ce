"""The general assertion of the tests that start daemons: what these find in a namespace is what they leave there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mqvpn.system.undo import FILE
from tests.system.snapshot import difference, ours, snapshot

ROOT = Path(__file__).resolve().parents[2]
FOLLOWS = r": None -> | -> None$"  # sysctls of an interface that has come or gone, which shows among the addresses


class Unchanged:
    """One namespace: is it as it was before the first daemon?"""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._before: dict[str, Any] | None = None
        self._journals: set[Path] = set()
        self._own = [FOLLOWS]

    @property
    def is_watched(self) -> bool:
        return self._before is not None

    def watch(self, state: Path | None = None) -> None:
        """A daemon is about to start, with its undo journal in the directory `state`, if we can see that."""
        if self._before is None:
            self._before = snapshot(self._namespace)
        if state is not None:
            self._journals.add(state / FILE)

    def but(self, *patterns: str) -> None:
        """The test itself changes this for good: regular expressions for lines of `difference`."""
        self._own += patterns

    def but_interfaces(self, *names: str) -> None:
        """The test itself changes these, their addresses and their routes for good."""
        self.but(*(rf'^(addresses|routes) .*"{re.escape(name)}"' for name in names))

    def left(self) -> list[str]:
        """What differs now; where a daemon that was killed has left a journal, when that is carried out. What carries
        our protocol number or name is never the test's own."""
        if self._before is None:
            return []
        for journal in self._journals:
            if journal.exists():
                clean_up(self._namespace, journal.parent)
        after, own = snapshot(self._namespace), re.compile("|".join(self._own))
        lines = [line for line in difference(self._before, after) if not own.search(line)]
        return lines + [line for line in ours(after) if line not in ours(self._before)]


def clean_up(namespace: str, state: Path) -> None:
    """As ExecStopPost= of the units would, by the journal in `state`. Raises AssertionError, also when its daemon still
    runs: whoever started it is to end it."""
    argv = (sys.executable, "-m", "mqvpn.cli.main", "--config", "/nonexistent", "--clean-up")
    command = ("ip", "netns", "exec", namespace, *argv)
    environment = os.environ | {"RUNTIME_DIRECTORY": str(state)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{state}: not cleaned up: {done.stderr}"
