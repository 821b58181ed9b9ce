"""How often what others delete is put back: at once, but not more than ten times in five seconds; then every second."""

import asyncio
import logging
from collections.abc import Callable

from mqvpn.system.errors import OperationFailed

log = logging.getLogger(__name__)

OFTEN, SPAN = 10, 5.0
PAUSE = 1.0  # seconds


class Repairs:
    """Of `what`, as the log calls it. `repair` puts it back, and returns whether anything was missing."""

    def __init__(self, what: str, repair: Callable[[], bool]) -> None:
        self._what = what
        self._repair = repair
        self._times: list[float] = []
        self._later: asyncio.TimerHandle | None = None
        self._complained = False

    def look(self) -> None:
        """Something may be missing: put it back now, or a little later."""
        if self._later is not None:
            return
        loop = asyncio.get_running_loop()
        self._times = [at for at in self._times if loop.time() - at < SPAN]
        if len(self._times) < OFTEN:
            self._complained = False
            self._run()
            return
        if not self._complained:
            self._complained = True
            log.error("%s: somebody keeps deleting it; it is put back every %.0f s", self._what, PAUSE)
        self._later = loop.call_later(PAUSE, self._run)

    def close(self) -> None:
        """Repair no more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _run(self) -> None:
        self._later = None
        loop = asyncio.get_running_loop()
        try:
            if not self._repair():
                return
        except OperationFailed as error:
            log.error("%s: %s", self._what, error)
            self._later = loop.call_later(PAUSE, self._run)
            return
        self._times.append(loop.time())
        if not self._complained:
            log.warning("%s: somebody deleted it; it is back", self._what)
