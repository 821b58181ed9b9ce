"""A daemon's TUN device, made anew when somebody deletes it: sessions and sockets know nothing of it and go on.

Meanwhile nothing leaks: of our routes those behind the ones into the device stay, which are unreachable, and the kill
switch goes by the device's name.
"""

import asyncio
import logging
import os
from collections.abc import Callable

from mqvpn.daemon.passed import Passed
from mqvpn.daemon.pump import DeviceGone, Pump, packets_of
from mqvpn.system import tun
from mqvpn.system.errors import OperationFailed

log = logging.getLogger(__name__)

OFTEN, SPAN = 10, 5.0  # more deletions in so many seconds are not accident, and end the daemon


class Device:
    """The TUN device `name`; `tun` is what is open now."""

    def __init__(self, passed: Passed, name: str) -> None:
        """Raises OperationFailed."""
        self._passed = passed
        self._times: list[float] = []
        self.tun: tun.Tun = passed.tun(name)

    def close(self) -> None:
        """Close it, and with it the interface is gone."""
        tun.close_tun(self.tun)

    def keep(self, pump: Pump, renewed: Callable[[], object]) -> None:
        """From now on give the pump another device when this one is deleted; `renewed` then sets its interface up."""
        pump.on_gone = lambda: self._renew(pump, renewed)

    def _renew(self, pump: Pump, renewed: Callable[[], object]) -> None:
        now = asyncio.get_running_loop().time()
        self._times = [at for at in self._times if now - at < SPAN] + [now]
        if len(self._times) > OFTEN:
            raise DeviceGone(f"somebody keeps deleting the TUN device {self.tun.name}")
        former, self.tun = self.tun, self._passed.another_tun(self.tun.name)
        pump.replace_tun(packets_of(self.tun), self.tun.fd)
        os.close(former.fd)
        try:
            renewed()
        except OperationFailed:
            if tun.exists(self.tun.name):
                raise
            return  # deleted again meanwhile, which the pump notices
        log.warning("%s: somebody deleted it; it is back", self.tun.name)
