"""systemd's watchdog (WatchdogSec=), fed by the loop that moves packets: when that stands still, systemd kills the
daemon and starts it again.

For the test of just that, MQVPN_STALL names a file; when it appears it is removed, and the loop stalls.
"""

import os
import time
from pathlib import Path

from mqvpn.daemon.pump import Pump
from mqvpn.system.notify import Notifier

FAIL_POINT = "MQVPN_STALL"


def feed(pump: Pump, notifier: Notifier) -> None:
    """Let the pump feed it, if systemd watches us."""
    if notifier.watchdog_interval is not None:
        stall = os.environ.get(FAIL_POINT)
        on_beat = notifier.watchdog if stall is None else lambda: _feed_or_stall(notifier, Path(stall))
        pump.beat(on_beat, notifier.watchdog_interval)


def _feed_or_stall(notifier: Notifier, stall: Path) -> None:
    notifier.watchdog()
    if stall.exists():
        stall.unlink()
        while True:
            time.sleep(1)
