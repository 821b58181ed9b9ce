"""What putting flows in order came to, in figures: of one connection, or of a server's together."""

from collections.abc import Iterable
from typing import NamedTuple

from mqvpn.multipath.connection import MultipathConnection

RARE = 0.01  # part of the gaps that may have lasted longer than p99_ms


class Reordering(NamedTuple):
    """Packets that came, of those the ones that waited for earlier ones, and how the gaps ended.

    p99_ms: 99 of 100 gaps lasted no longer, within a factor of two.
    """

    numbered: int = 0
    waited: int = 0
    waiting: int = 0
    late: int = 0
    duplicates: int = 0
    no_room: int = 0
    discarded: int = 0
    gaps_filled: int = 0
    gaps_lost: int = 0
    gaps_expired: int = 0
    gaps_overrun: int = 0
    flows_demoted: int = 0
    longest_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def delivered(self) -> int:
        """Those that were passed on."""
        return self.numbered - self.waiting - self.discarded - self.duplicates


def reordering(connections: Iterable[MultipathConnection | None]) -> Reordering:
    """Of these connections together; those that ended count no more."""
    found = [one.engine_connection.order() for one in connections if one is not None and not one.terminated]
    if not found:
        return Reordering()
    sums = [sum(column) for column in zip(*(one[:-2] for one in found), strict=True)]
    longest = max(one.longest for one in found)
    waits = [sum(column) for column in zip(*(one.waits for one in found), strict=True)]
    p99 = _p99(waits, longest)
    return Reordering(*sums)._replace(longest_ms=round(longest * 1000, 3), p99_ms=round(p99 * 1000, 3))


def _p99(waits: list[int], longest: float) -> float:
    """Seconds, from the counts of OrderStats.waits."""
    rest, limit = sum(waits), 0.001
    allowed = rest * RARE
    for count in waits[:-1]:
        rest -= count
        if rest <= allowed:
            return min(limit, longest)
        limit *= 2
    return longest
