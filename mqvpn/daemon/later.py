"""What needs a file descriptor and finds none, by this process's limit or the machine's, is done later: that passes by
itself, and is no reason to end."""

import asyncio
import logging
from collections.abc import Callable

from mqvpn.system.errors import is_exhaustion

log = logging.getLogger(__name__)

AGAIN = 1.0  # seconds until it is tried again


class Later:
    """Calls at once, or again and again until there is a descriptor; one line says so. `failed` is called with what
    goes wrong then for another reason."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._waiting: dict[str, Callable[[], None]] = {}  # by what it is about
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, what: str, change: Callable[[], None]) -> None:
        """Call `change`; while others wait, behind them, or in the place of an earlier one about the same. Raises what
        it raises."""
        if self._waiting:
            self._waiting[what] = change
            return
        try:
            change()
        except Exception as error:
            if not is_exhaustion(error):
                raise
            log.warning("%s has to wait for a free file descriptor: %s", what, error)
            self._waiting[what] = change
            self._arm()

    def close(self) -> None:
        """Try nothing again."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AGAIN, self._again)

    def _again(self) -> None:
        """In the order in which they came; the rest waits for the first that has to."""
        self._timer = None
        while self._waiting:
            what, change = next(iter(self._waiting.items()))
            try:
                change()
            except Exception as error:
                if is_exhaustion(error):
                    self._arm()
                    return
                self._failed(error)
            self._waiting.pop(what, None)
        log.info("there are file descriptors again")
