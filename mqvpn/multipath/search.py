"""The largest datagram that a path takes (RFC 8899, DPLPMTUD; RFC 9000, section 14.3), found by padded PINGs.

BASE is proven first: with less, IP packets of 1280 bytes would not fit. Then the search goes up to what the
interface and the peer take, each size proven by its own acknowledgement; ICMP plays no part. Behind each probe goes
a small PING: when that arrives and the probe does not, the size is too large, or the probe was lost by chance, and
three in a row tell. What was once proven is questioned when large packets vanish or the path leads elsewhere, and
only given up when no probe of that size comes through, so that the MTU does not flap.
"""

from enum import Enum, auto
from typing import Final

BASE: Final = 1331  # bytes of UDP payload
MAX_PROBES: Final = 3  # RFC 8899, section 5.1.3: of one size
BASE_PROBES: Final = 8  # of BASE, without which the path is given up
MORE_BASE_PROBES: Final = 24  # the same where BASE once passed: a link that now loses half of all is no smaller for it
RAISE_AFTER: Final = 600.0  # seconds, RFC 8899, section 5.1.1: until a finished search begins again
MANY_REFUSALS: Final = 2  # sizes that did not pass
CLOSE_ENOUGH: Final = 16  # bytes: no smaller step is worth a probe
COMMON: Final = (8972, 8952, 1492, 1472, 1452, 1440, 1400)  # payloads of usual links and tunnels, tried first
LARGEST_DATAGRAM: Final = 65527  # RFC 9000, section 18.2


class Phase(Enum):
    """Where a search stands (RFC 8899, section 5.2)."""

    BASE = auto()  # nothing is proven, or what was is in doubt and BASE too
    CONFIRM = auto()  # is the proven size still good?
    SEARCH = auto()
    COMPLETE = auto()
    FAILED = auto()  # not even BASE comes through


class MtuSearch:
    """The search on one path. next_probe() says what to send, and probed() what became of it."""

    def __init__(self, largest: int, proven: int = 0) -> None:
        """largest: bytes of UDP payload that interface and peer take; proven: what already passed."""
        self.largest = largest
        self.proven = proven if proven >= BASE else 0
        self.phase = Phase.SEARCH if self.proven else Phase.BASE
        self._refused = self.largest + 1  # the smallest size that did not pass
        self._probing = 0  # size; 0: none is under way
        self._tries = self._refusals = 0
        self._base_probes = MORE_BASE_PROBES if self.proven else BASE_PROBES
        self.raise_at: float | None = None
        if self.largest < BASE:  # the peer takes no more
            self.phase, self.proven = Phase.COMPLETE, self.largest

    def limit(self, largest: int) -> None:
        """The interface's MTU is another one now, which leaves this much of UDP payload."""
        if largest == self.largest or self.phase is Phase.FAILED:
            return
        self.largest, self._refused = largest, largest + 1
        self._probing = self._tries = self._refusals = 0
        if largest < BASE:
            self.phase, self.proven = Phase.FAILED, 0
        elif self.proven > largest:  # that passed, so less should
            self.phase, self.proven = Phase.CONFIRM, largest
        elif self.phase is Phase.COMPLETE:
            self._begin_search()

    @property
    def probing(self) -> int:
        """The size that is on its way; 0: none."""
        return self._probing

    @property
    def in_doubt(self) -> bool:
        """Whether nothing is proven now."""
        return self.phase in (Phase.BASE, Phase.CONFIRM)

    @property
    def is_known(self) -> bool:
        """Whether what is proven is about all that the path takes."""
        return self.phase is Phase.COMPLETE or self._refusals >= MANY_REFUSALS

    def next_probe(self, now: float) -> int:
        """The size to probe now, 0: none."""
        if self._probing or self.phase is Phase.FAILED:
            return 0
        if self.phase is Phase.COMPLETE:
            if self.raise_at is None or now < self.raise_at:
                return 0
            self._begin_search()
        size = self._candidate()
        if size == 0:
            self.phase = Phase.COMPLETE
            self.raise_at = now + RAISE_AFTER
            return 0
        self._probing = size
        return size

    def probed(self, size: int, arrived: bool) -> None:
        """What became of a probe; an answer about a size that is not probed any more counts only if it arrived."""
        if arrived and self.proven <= size <= self.largest and self.phase is not Phase.FAILED:
            self.proven = size
            self._refused = max(self._refused, size + 1)
            self._settle()
        elif not arrived and size == self._probing:
            self._probing = 0
            self._tries += 1
            if self._tries >= (MAX_PROBES if size > BASE else self._base_probes):
                self._refuse(size)

    def doubt(self) -> None:
        """Large packets vanish, or the path leads elsewhere: prove the size anew."""
        if self.proven and self.phase in (Phase.SEARCH, Phase.COMPLETE):
            self.phase = Phase.CONFIRM
            self._probing = self._tries = 0

    def _candidate(self) -> int:
        if self.phase is Phase.BASE:
            return BASE
        if self.phase is Phase.CONFIRM:
            return self.proven
        if self._refused == self.largest + 1 and self.proven < self.largest:
            return self.largest  # most paths take all that their interface does
        usual = [size for size in COMMON if self.proven < size < self._refused]
        if usual:
            return usual[0]
        middle = (self.proven + self._refused) // 2
        return middle if middle - self.proven >= CLOSE_ENOUGH else 0

    def _settle(self) -> None:
        """A size passed."""
        self._probing = self._tries = 0
        self._base_probes = MORE_BASE_PROBES
        if self.phase in (Phase.BASE, Phase.CONFIRM):
            self.phase = Phase.SEARCH

    def _refuse(self, size: int) -> None:
        """A size did not pass."""
        self._tries = 0
        self._refusals += 1
        if self.phase is Phase.SEARCH:
            self._refused = size
        elif size <= BASE:
            self.phase, self.proven = Phase.FAILED, 0
        else:  # RFC 8899, section 4.3: a black hole
            self.phase, self.proven, self._refused = Phase.BASE, 0, size

    def _begin_search(self) -> None:
        self.phase, self.raise_at = Phase.SEARCH, None
        self._refused = self.largest + 1
