"""How wide a table may be."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios

import pytest

from mqvpn.cli.tables import terminal_width


@pytest.mark.parametrize(("said", "width"), [("60", 60), ("0", 80), ("-1", 80), ("wide", 80)])
def test_a_terminal_is_as_wide_as_it_is_unless_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch, said: str, width: int
) -> None:
    """Some shells export COLUMNS=0, by which every line was cut to nothing."""
    monkeypatch.setenv("COLUMNS", said)
    leader, terminal = os.openpty()
    with open(leader, "rb"), open(terminal, "w") as stdout:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        monkeypatch.setattr(sys, "stdout", stdout)
        assert terminal_width() == width
