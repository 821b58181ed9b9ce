"""Is a path there (RFC 9000, section 8.2), and how large are the datagrams it takes?

A Validation is a series of PATH_CHALLENGEs, each with data of its own, until one is answered or time is up.
An MtuProof counts padded PINGs (RFC 8899): a size is proven once a packet of that size was acknowledged.
"""

import secrets
from typing import Final

CHALLENGE_DATAGRAM_SIZE: Final = 1200  # RFC 9000, section 8.2.1: challenges are padded, and so prove this much
INITIAL_PTO: Final = 1.0  # seconds: 333 ms of initial RTT and four times half of it (RFC 9002, section 6.2.2)
SMALLEST_INTERVAL: Final = 0.1  # seconds between the first two challenges
PROOF_SIZES: Final = (1400, 1331)  # bytes of UDP payload, largest first
SMALLEST_MTU: Final = PROOF_SIZES[-1]  # with less, inner packets of 1280 bytes would not fit
PROOF_TRIES: Final = 3


class Validation:
    """The validation of one address."""

    def __init__(self, now: float, pto: float) -> None:
        """pto: the probe timeout of a path that works, in seconds, or INITIAL_PTO."""
        self._interval = max(pto, SMALLEST_INTERVAL)
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
        """Return the data of the next PATH_CHALLENGE; the one after it waits twice as long."""
        data = secrets.token_bytes(8)
        self._sent.append(data)
        self._next_at = now + self._interval
        self._interval *= 2
        return data

    def is_answered_by(self, data: bytes) -> bool:
        """Whether PATH_RESPONSE data is that of any challenge sent."""
        return data in self._sent

    def next_timeout(self) -> float:
        return min(self._next_at, self._deadline)


class MtuProof:
    """Which padded sizes arrived."""

    def __init__(self, largest: int) -> None:
        """largest: the peer's max_udp_payload_size."""
        self._tries = {min(size, largest): PROOF_TRIES for size in PROOF_SIZES}

    def sizes(self) -> list[int]:
        """The sizes to probe at first."""
        return list(self._tries)

    def retry(self, size: int) -> bool:
        """A probe was lost, perhaps by chance: whether to send it again."""
        self._tries[size] -= 1
        return self._tries[size] > 0

    def proven(self, size: int) -> None:
        """A probe arrived: nothing smaller needs to be tried again."""
        for other in self._tries:
            if other <= size:
                self._tries[other] = 0

    def is_hopeless(self) -> bool:
        """Whether no try is left."""
        return all(tries <= 0 for tries in self._tries.values())
