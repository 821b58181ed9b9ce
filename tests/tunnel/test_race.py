"""The handshake race: a head start for each attempt, the next at once when one fails, and an end."""

from __future__ import annotations

from typing import Any

from mqvpn.tunnel.events import Closed
from mqvpn.tunnel.paths import Uplink
from mqvpn.tunnel.race import ATTEMPT_TIMEOUT, HEAD_START, SERVER_HEAD_START, Race

WAYS = [Uplink(f"eth{number}", number, ("192.0.2.1", 443)) for number in range(3)]
# Two interfaces, and of each the way to the first server and that to the second.
SERVERS = [
    Uplink(f"eth{number}", number, (f"192.0.2.{place}", 443), server=place) for place in (0, 1) for number in (0, 1)
]


class Handshake:
    """Stands for a connection: the race only tells one from the other."""


def begin(race: Race, now: float) -> Any:
    """Start the attempt that is due; None: none is."""
    uplink = race.next_uplink(now)
    if uplink is None:
        return None
    handshake = Handshake()
    race.started(handshake, uplink, now)  # type: ignore[arg-type]
    return handshake


def started(*uplinks: Uplink) -> Race:
    race = Race()
    race.links_changed(list(uplinks), 100.0)
    return race


def test_attempts_start_apart() -> None:
    race = started(*WAYS)
    assert begin(race, 100.0)
    assert begin(race, 100.0) is None
    assert race.next_timeout() == 100.0 + HEAD_START
    assert begin(race, 100.0 + HEAD_START)
    assert len(race.attempts()) == 2


def test_a_failure_starts_the_next_at_once() -> None:
    race = started(*WAYS)
    race.lost(begin(race, 100.0), Closed("refused"))
    assert race.next_uplink(100.0) == WAYS[1]
    assert not race.over


def test_over_when_all_have_failed() -> None:
    race = started(WAYS[0])
    race.lost(begin(race, 100.0), Closed("first"))
    assert race.over
    assert race.failure == Closed("first")


def test_attempts_have_their_time() -> None:
    race = started(WAYS[0])
    handshake = begin(race, 100.0)
    assert race.expired(100.0 + ATTEMPT_TIMEOUT - 0.1) == []
    assert race.expired(100.0 + ATTEMPT_TIMEOUT) == [handshake]
    assert race.over


def test_the_winner_ends_it() -> None:
    race = started(*WAYS)
    first, second = begin(race, 100.0), begin(race, 100.3)
    assert race.won(second) == WAYS[1]
    assert race.attempts() == [first]
    assert race.next_uplink(200.0) is None


def test_a_link_that_goes_takes_its_attempt_along_and_may_try_again() -> None:
    race = started(*WAYS[:2])
    first = begin(race, 100.0)
    assert race.links_changed([WAYS[1]], 100.1) == [first]
    assert race.next_uplink(100.1) == WAYS[1]
    begin(race, 100.1)
    race.links_changed(WAYS[:2], 100.2)
    assert race.next_uplink(100.1 + HEAD_START) == WAYS[0]


def test_no_uplink_at_all() -> None:
    assert started().over
    assert started().failure == Closed("no interface can be used")


def test_the_next_server_is_asked_when_the_preferred_one_had_its_head_start() -> None:
    race = started(*SERVERS)
    begun = []
    now = 100.0
    while len(begun) < len(SERVERS):
        uplink = race.next_uplink(now)
        if uplink is None:
            now = race.next_timeout() or 0.0
            continue
        race.started(Handshake(), uplink, now)  # type: ignore[arg-type]
        begun.append((uplink, now))
    second = 100.0 + SERVER_HEAD_START
    assert begun == list(zip(SERVERS, (100.0, 100.0 + HEAD_START, second, second + HEAD_START), strict=True))


def test_the_next_server_is_asked_at_once_when_all_ways_to_the_first_failed() -> None:
    race = started(*SERVERS)
    race.lost(begin(race, 100.0), Closed("refused"))
    second = begin(race, 100.0)
    assert race.next_uplink(100.1) is None  # the first is still asked over the other interface
    race.lost(second, Closed("no answer"))
    assert race.next_uplink(100.1) == SERVERS[2]
    assert race.next_timeout() <= 100.1
    assert race.failures == {0: Closed("no answer")}


def test_a_server_that_is_found_late_is_asked_at_once_if_it_is_the_preferred_one() -> None:
    race = started(*SERVERS[2:])
    begin(race, 100.0)
    race.links_changed(SERVERS, 100.5)
    assert race.next_uplink(100.5) == SERVERS[0]


def test_when_no_link_is_left_the_order_begins_anew() -> None:
    race = started(*SERVERS)
    begin(race, 100.0)
    race.links_changed([], 100.1)
    assert race.over
    race.links_changed(SERVERS, 130.0)
    assert begin(race, 130.0)
    assert race.next_uplink(130.0 + HEAD_START) == SERVERS[1]
