"""The points before and after each change of this machine, where a test can have a daemon die or a change refused.

Nothing happens in production: only if the environment variable MQVPN_FAIL_AT was set when the program started. Its
value is POINT:WHEN:WHAT, with `before` or `after`, and `kill` (SIGKILL) or the name of an errno: route:before:ENOSPC.
"""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from mqvpn.system.errors import refused

VARIABLE = "MQVPN_FAIL_AT"
MADE = ("journal", "tun", "link", "address", "route", "rule", "sysctl", "nat", "block", "dns")
UNDONE = ("address-gone", "route-gone", "rule-gone", "sysctl-back", "nat-gone", "block-lifted", "dns-back", "tun-gone")
POINTS = (*MADE, *UNDONE)
KILL = "kill"

_wanted = os.environ.get(VARIABLE, "")
_nothing = nullcontext()


def change(point: str) -> AbstractContextManager[None]:
    """Where one of POINTS is changed. Raises OperationFailed if a test wants it."""
    return _watched(point) if _wanted else _nothing


@contextmanager
def _watched(point: str) -> Iterator[None]:
    _reached(point, "before")
    yield
    _reached(point, "after")


def _reached(point: str, when: str) -> None:
    wanted, at, what = _wanted.split(":")
    if (wanted, at) != (point, when):
        return
    if what == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    raise refused(f"change {point}", getattr(errno, what))
