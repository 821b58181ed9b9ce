"""Lines on stderr: a level and a message, ours from the wished level on, of the libraries only what matters."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from mqvpn.daemon.log import start_logging
start_logging(sys.argv[1], "home")
for name in ("mqvpn.daemon.client", "quic", "asyncio"):
    log = logging.getLogger(name)
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("%s of %s", level, name)
"""


@pytest.mark.parametrize(
    ("level", "ours"),
    [
        ("debug", ["DEBUG debug", "INFO info", "WARN warning", "ERROR error"]),
        ("info", ["INFO info", "WARN warning", "ERROR error"]),
        ("warn", ["WARN warning", "ERROR error"]),
        ("error", ["ERROR error"]),
    ],
)
def test_levels(level: str, ours: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, level], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert [line.split(" of ")[0] for line in lines if "mqvpn" in line] == ours
    assert [line for line in lines if "quic" in line] == ["ERROR error of quic"]
    assert [line for line in lines if "asyncio" in line] == ["WARN warning of asyncio", "ERROR error of asyncio"]
