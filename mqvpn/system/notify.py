"""Tells systemd how the service is doing (sd_notify(3)): READY, RELOADING, STATUS, ERRNO, WATCHDOG, STOPPING.

The only importer of sdnotify, which sends latin-1 and swallows errors: one character outside it loses the
whole message, READY=1 included, so a status is made ASCII first. Without NOTIFY_SOCKET every call does
nothing.
"""

import os
import time

from sdnotify import SystemdNotifier


class Notifier:
    """The service's line to systemd, open for the life of the daemon."""

    def __init__(self) -> None:
        self._systemd = SystemdNotifier()
        self._is_ready = False
        self.watchdog_interval = _watchdog_interval()

    def ready(self) -> None:
        """The service does its work: units ordered after it may start."""
        self._is_ready = True
        self._systemd.notify("READY=1")

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`: one line, other than ASCII shown as '?'."""
        line = " ".join(text.split())
        self._systemd.notify("STATUS=" + line.encode("ascii", "replace").decode("ascii"))

    def watchdog(self) -> None:
        """The loop that moves packets is alive; call it every `watchdog_interval` seconds."""
        self._systemd.notify("WATCHDOG=1")

    def reloading(self) -> None:
        """The service has begun to reload."""
        if self._is_ready:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={now}")  # the time, for Type=notify-reload

    def reloaded(self) -> None:
        """The reload is over, whatever came of it."""
        if self._is_ready:
            self._systemd.notify("READY=1")

    def stopping(self) -> None:
        """The service has begun to shut down."""
        self._systemd.notify("STOPPING=1")

    def failed(self, errno: int, reason: str) -> None:
        """The service ends because of `reason`, which stays in `systemctl status`."""
        self.status(reason)
        self._systemd.notify(f"ERRNO={errno}")


def _watchdog_interval() -> float | None:
    """Seconds between two watchdog() calls: half of what systemd allows; None when it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed = os.environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2e6 if allowed.isdecimal() and int(allowed) else None
