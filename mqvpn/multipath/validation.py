"""Is a path there (RFC 9000, section 8.2)?

A Validation is a series of PATH_CHALLENGEs, each with data of its own, until one is answered or time is up.
"""

import secrets
from typing import Final

CHALLENGE_DATAGRAM_SIZE: Final = 1200  # RFC 9000, section 8.2.1: challenges are padded, and so prove this much
INITIAL_PTO: Final = 1.0  # seconds: 333 ms of initial RTT and four times half of it (RFC 9002, section 6.2.2)
SMALLEST_INTERVAL: Final = 0.1  # seconds between the first two challenges
# The pauses double up to this, or the PTO if that is longer: each challenge and its answer may be lost, and a path over
# a link that loses every second packet should not be given up for it.
LARGEST_INTERVAL: Final = 0.25


class Validation:
    """The validation of one address."""

    def __init__(self, now: float, pto: float) -> None:
        """pto: the probe timeout of a path that works, in seconds, or INITIAL_PTO."""
        self._interval = max(pto, SMALLEST_INTERVAL)
        self._largest = max(pto, LARGEST_INTERVAL)
        self._next_at = now
        # RFC 9000, section 8.2.4: "A value of three times the larger of the current PTO or the PTO for the
        # new path (using kInitialRtt, as defined in [QUIC-RECOVERY]) is RECOMMENDED."
        self._deadline = now + 3 * max(pto, INITIAL_PTO)
        self._sent: list[bytes] = []

    def is_due(self, now: float) -> bool:
        """Whether the next challenge is to be sent."""
        return now >= self._next_at

    def has_failed(self, now: float) -> bool:
        return now >= self._deadline

    def challenge(self, now: float) -> bytes:
        """Return the data of the next PATH_CHALLENGE, and set the time of the one after it."""
        data = secrets.token_bytes(8)
        self._sent.append(data)
        self._next_at = now + self._interval
        self._interval = min(2 * self._interval, self._largest)
        return data

    def is_answered_by(self, data: bytes) -> bool:
        """Whether PATH_RESPONSE data is that of any challenge sent."""
        return data in self._sent

    def next_timeout(self) -> float:
        return min(self._next_at, self._deadline)
