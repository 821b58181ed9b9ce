"""Which paths the client opens and gives up, against a connection that a test plays."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from mqvpn.multipath.connection import CannotOpenPath
from mqvpn.multipath.events import PathAbandoned, PathAlive, PathEstablished, PathSuspect
from mqvpn.multipath.path import Path
from mqvpn.multipath.paths import NOWHERE
from mqvpn.tunnel.events import PathAnswers, PathDown, PathSilent, PathUp
from mqvpn.tunnel.paths import AWAKE_LIMIT, FIRST_RETRY, LAST_RETRY, SILENCE_LIMIT, ClientPaths, Role, Uplink

V4, V6 = ("192.0.2.1", 443), ("2001:db8::1", 443)
ETH0, ETH1 = (Uplink("eth0", 0, V4),), (Uplink("eth1", 1, V4), Uplink("eth1", 1, V6))


class Played:
    """A connection that notes what is asked of it."""

    def __init__(self, *, multipath: bool = True) -> None:
        self.multipath = multipath
        self.refuses = False
        self.pinged = 0
        self.opened: list[tuple[int, Any]] = []
        self.abandoned: list[int] = []
        self.paths: defaultdict[int, Path] = defaultdict(lambda: Path(0, NOWHERE))
        self.statuses: list[tuple[int, bool]] = []
        self.weights: dict[int, float] = {}
        self.sizes: list[tuple[int, int]] = []  # path ID, largest

    def open_path(self, socket: int, remote: Any, local: Any, now: float, *, largest: int = 0) -> int:
        if self.refuses:
            raise CannotOpenPath("no connection ID")
        self.sizes.append((len(self.opened) + 1, largest))
        self.opened.append((socket, remote))
        return len(self.opened)

    def set_path_status(self, path_id: int, backup: bool, now: float) -> None:
        self.statuses.append((path_id, backup))
        self.paths[path_id].backup = backup

    def set_path_weight(self, path_id: int, weight: float) -> None:
        self.weights[path_id] = weight

    def set_largest(self, path_id: int, largest: int, now: float) -> None:
        self.sizes.append((path_id, largest))

    def ping_paths(self) -> None:
        self.pinged += 1

    def abandon_path(self, path_id: int, error_code: int, now: float) -> None:
        self.abandoned.append(path_id)


def up(connection: Played, roles: dict[str, Role] | None = None) -> ClientPaths:
    """Two interfaces, path 0 over the first."""
    paths = ClientPaths(roles)
    paths.handle_link("eth0", ETH0, 100.0)
    paths.handle_link("eth1", ETH1, 100.0)
    paths.start(connection, ETH0[0], 100.0)  # type: ignore[arg-type]
    paths.handle_event(PathEstablished(0), 100.0)
    return paths


def test_uplinks_take_turns_between_interfaces() -> None:
    paths = ClientPaths()
    paths.handle_link("eth1", ETH1, 100.0)
    paths.handle_link("eth0", ETH0, 100.0)
    assert paths.uplinks() == [ETH1[0], ETH0[0], ETH1[1]]


def test_backups_are_tried_last() -> None:
    paths = ClientPaths({"eth1": Role(backup=True)})
    paths.handle_link("eth1", ETH1, 100.0)
    paths.handle_link("eth0", ETH0, 100.0)
    assert paths.uplinks() == [ETH0[0], ETH1[0], ETH1[1]]


def test_each_path_is_given_its_part_and_only_changes_are_told() -> None:
    connection = Played()
    paths = up(connection, {"eth1": Role(backup=True, weight=0.5)})
    paths.open_missing(100.0)
    assert connection.statuses == [(1, True)]
    assert connection.weights == {0: 1.0, 1: 0.5}
    paths.set_role("eth1", Role(weight=2.0), 101.0)
    paths.set_role("eth1", Role(weight=2.0), 101.0)
    assert connection.statuses == [(1, True), (1, False)]
    assert connection.weights == {0: 1.0, 1: 2.0}
    paths.set_role("eth2", Role(backup=True), 101.0)
    paths.handle_link("eth2", (Uplink("eth2", 2, V4),), 102.0)
    paths.open_missing(102.0)
    assert connection.statuses[-1] == (2, True)


def test_events_are_told_by_interface() -> None:
    connection = Played()
    paths = up(connection)
    paths.open_missing(100.0)
    assert connection.opened == [(1, V4)]
    assert paths.handle_event(PathEstablished(1), 100.1) == PathUp(1, "eth1")
    assert paths.handle_event(PathSuspect(1), 100.2) == PathSilent(1, "eth1")
    assert paths.handle_event(PathAlive(1), 100.3) == PathAnswers(1, "eth1")
    told = paths.handle_event(PathAbandoned(1, 0x3E76, True), 100.4)
    assert isinstance(told, PathDown)
    assert (told.interface, paths.interface(1)) == ("eth1", "")


def test_a_lost_path_is_tried_again_later_and_by_another_way() -> None:
    connection = Played()
    paths = up(connection)
    now, wait = 100.0, FIRST_RETRY
    for number in range(1, 7):
        paths.open_missing(now)
        assert len(connection.opened) == number
        paths.handle_event(PathAbandoned(number, 0, False), now)
        paths.open_missing(now + wait - 0.01)
        assert len(connection.opened) == number
        assert paths.next_timeout() == pytest.approx(now + wait)
        now, wait = now + wait, min(2 * wait, LAST_RETRY)
    assert [remote for _, remote in connection.opened[:4]] == [V4, V6, V4, V6]


def test_a_change_of_the_interface_tries_at_once() -> None:
    connection = Played()
    paths = up(connection)
    connection.refuses = True
    paths.open_missing(100.0)
    connection.refuses = False
    paths.handle_link("eth1", ETH1[1:], 100.1)
    paths.open_missing(100.1)
    assert connection.opened == [(1, V6)]


def test_an_interface_that_is_gone_is_given_up_but_not_the_last() -> None:
    connection = Played()
    paths = up(connection)
    paths.handle_link("eth0", (), 101.0)
    assert connection.abandoned == []
    paths.handle_link("eth0", ETH0, 101.0)
    paths.open_missing(101.0)
    paths.handle_event(PathEstablished(1), 101.1)
    paths.handle_link("eth0", (), 102.0)
    assert connection.abandoned == [0]


def test_the_mtu_of_interfaces_is_told_when_a_path_opens_and_when_it_changes() -> None:
    connection = Played()
    paths = up(connection)
    paths.handle_link("eth1", (Uplink("eth1", 1, V4, 1372), Uplink("eth1", 1, V6, 1352)), 100.0)
    connection.sizes.clear()
    paths.open_missing(100.0)
    assert connection.sizes == [(1, 1372)]
    paths.handle_link("eth1", (Uplink("eth1", 1, V4, 8972), Uplink("eth1", 1, V6, 8952)), 101.0)
    paths.handle_link("eth0", (Uplink("eth0", 0, V4, 1472),), 101.0)
    assert connection.sizes[1:] == [(1, 8972), (0, 1472)]
    assert len(connection.opened) == 1


def test_one_path_where_the_server_knows_no_more() -> None:
    connection = Played(multipath=False)
    paths = up(connection)
    paths.open_missing(100.0)
    assert connection.opened == []
    assert paths.next_timeout() is None


def test_silence_on_every_path_has_a_limit() -> None:
    connection = Played()
    paths = up(connection)
    paths.open_missing(100.0)
    paths.handle_event(PathEstablished(1), 100.0)
    paths.handle_event(PathSuspect(0), 110.0)
    assert paths.give_up_at is None
    paths.handle_event(PathSuspect(1), 112.0)
    paths.handle_event(PathSuspect(1), 113.0)
    assert paths.give_up_at == 112.0 + SILENCE_LIMIT
    paths.handle_event(PathAlive(0), 114.0)
    assert paths.give_up_at is None


def moved(number: int) -> tuple[Uplink, ...]:
    """eth1 with another address."""
    return (Uplink("eth1", 1, V4, local=f"10.0.1.{number}"),)


def up_and_moved(connection: Played) -> ClientPaths:
    """Path 1 goes over eth1, which has had another address since 101.0."""
    paths = up(connection)
    paths.handle_link("eth1", moved(2), 100.0)
    paths.open_missing(100.0)
    paths.handle_event(PathEstablished(1), 100.1)
    paths.handle_link("eth1", moved(3), 101.0)
    return paths


def test_another_address_opens_another_path_and_then_gives_up_the_old_one() -> None:
    connection = Played()
    paths = up_and_moved(connection)
    assert paths.next_timeout() == 101.0
    paths.open_missing(101.0)
    assert (len(connection.opened), connection.abandoned) == (2, [])
    assert paths.interface(1) == paths.interface(2) == "eth1"
    assert paths.handle_event(PathEstablished(2), 101.1) == PathUp(2, "eth1")
    assert connection.abandoned == [1]
    told = paths.handle_event(PathAbandoned(1, 0, False), 101.1)
    assert told == PathDown(1, "eth1", "another path has taken its place")
    assert (paths.interface(1), paths.interface(2), paths.next_timeout()) == ("", "eth1", None)


def test_the_old_path_stays_while_the_new_one_fails() -> None:
    connection = Played()
    paths = up_and_moved(connection)
    paths.open_missing(101.0)
    paths.handle_event(PathAbandoned(2, 0, False), 104.0)
    assert connection.abandoned == []
    assert paths.next_timeout() == 104.0 + FIRST_RETRY
    paths.handle_link("eth1", (), 105.0)
    assert connection.abandoned == [1]
    told = paths.handle_event(PathAbandoned(1, 0, False), 105.0)
    assert isinstance(told, PathDown)
    assert told.reason == "the interface can no longer be used"


def test_the_same_offer_again_does_not_shorten_the_wait() -> None:
    connection = Played()
    paths = up(connection)
    paths.open_missing(100.0)
    for number in (1, 2):
        paths.handle_event(PathAbandoned(number, 0, False), 100.0)
        paths.handle_link("eth1", ETH1, 100.1)
        assert paths.next_timeout() == 100.0 + number * FIRST_RETRY
        paths.open_missing(100.0 + number * FIRST_RETRY)


def test_after_sleep_every_path_is_asked_and_silence_is_believed_soon() -> None:
    connection = Played()
    paths = up(connection)
    paths.slept(700.0)
    assert connection.pinged == 1
    paths.handle_event(PathSuspect(0), 700.5)
    assert paths.give_up_at == 700.5 + AWAKE_LIMIT
    paths.handle_event(PathAlive(0), 701.0)
    paths.handle_event(PathSuspect(0), 800.0)
    assert paths.give_up_at == 800.0 + SILENCE_LIMIT
