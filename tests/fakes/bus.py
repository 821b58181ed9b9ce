"""A private dbus-daemon for tests, which can die, hang and come back; the machine's own bus is never met."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from tests.lab.net import stop, wait_for

CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""


class PrivateBus:
    """Runs between start() and kill(); `address` is for DBUS_SYSTEM_BUS_ADDRESS."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "bus"
        self._configuration = directory / "bus.conf"
        self._configuration.write_text(CONFIGURATION.format(socket=self._socket))
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix:path={self._socket}"

    def __enter__(self) -> PrivateBus:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.resume()
        self.kill()

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._configuration}", "--nofork", "--nopidfile", "--nosyslog"],
            stdin=subprocess.DEVNULL,
        )
        wait_for("the private bus listens", self._listens)

    def _listens(self) -> bool:
        """Takes connections: its socket is in the file system a moment before that."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def kill(self) -> None:
        """As kill -9 does it; its socket stays in the file system, as then."""
        if self._process is not None:
            self._process.kill()
            stop(self._process)
            self._process = None

    def hang(self) -> None:
        """It takes connections and bytes, and does nothing with them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
