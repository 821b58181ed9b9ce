"""The search for a path's MTU, against links that take up to so many bytes."""

import pytest

from mqvpn.multipath.search import (
    BASE,
    BASE_PROBES,
    CLOSE_ENOUGH,
    MAX_PROBES,
    MORE_BASE_PROBES,
    RAISE_AFTER,
    MtuSearch,
    Phase,
)


def drive(search: MtuSearch, takes: int, now: float = 0.0) -> list[int]:
    """Answer probes as a link that takes `takes` bytes until the search rests; return their sizes."""
    sizes = []
    while size := search.next_probe(now):
        sizes.append(size)
        search.probed(size, size <= takes)
        assert len(sizes) < 100
    return sizes


@pytest.mark.parametrize("largest", [1472, 1452, 8972])
@pytest.mark.parametrize("takes", [1331, 1350, 1400, 1412, 1440, 1452, 1464, 1472, 1492, 4000, 8952, 8972])
def test_it_finds_what_the_link_takes(largest: int, takes: int) -> None:
    search = MtuSearch(largest)
    sizes = drive(search, takes)
    best = min(largest, takes)
    assert best - CLOSE_ENOUGH < search.proven <= best
    assert search.phase is Phase.COMPLETE
    assert len(sizes) <= 12 * MAX_PROBES


def test_the_base_comes_first_and_then_what_most_links_take() -> None:
    assert drive(MtuSearch(1472), 1500) == [BASE, 1472]
    assert drive(MtuSearch(1472, proven=BASE), 1500) == [1472]


def test_one_size_is_given_up_after_three_losses() -> None:
    search = MtuSearch(1472, proven=BASE)
    for _ in range(MAX_PROBES):
        assert search.next_probe(0.0) == 1472
        assert search.next_probe(0.0) == 0  # one at a time
        search.probed(1472, False)
    assert search.next_probe(0.0) < 1472


def test_a_link_that_does_not_take_the_base_is_hopeless() -> None:
    search = MtuSearch(1472)
    assert drive(search, 1300) == [BASE] * BASE_PROBES
    assert search.phase is Phase.FAILED


def test_the_base_is_tried_longer_where_it_once_passed() -> None:
    """Half of all packets may be lost for a while."""
    search = MtuSearch(1472)
    drive(search, BASE)
    search.doubt()
    assert drive(search, 1300) == [BASE] * MORE_BASE_PROBES
    assert search.phase is Phase.FAILED


def test_a_finished_search_begins_again_after_a_while() -> None:
    search = MtuSearch(1472)
    drive(search, 1400, now=5.0)
    assert search.raise_at == 5.0 + RAISE_AFTER
    assert search.next_probe(5.0 + RAISE_AFTER - 1) == 0
    drive(search, 1472, now=5.0 + RAISE_AFTER)
    assert search.proven == 1472


def test_a_doubt_that_was_wrong_changes_nothing() -> None:
    search = MtuSearch(1472)
    drive(search, 1472)
    search.doubt()
    assert drive(search, 1472) == [1472]
    assert search.proven == 1472


def test_a_black_hole_leads_back_to_the_base_and_a_new_search() -> None:
    search = MtuSearch(1472)
    drive(search, 1472)
    search.doubt()
    sizes = drive(search, 1400)
    assert sizes[: MAX_PROBES + 1] == [1472] * MAX_PROBES + [BASE]
    assert 1400 - CLOSE_ENOUGH < search.proven <= 1400


def test_a_late_answer_counts_only_if_it_arrived() -> None:
    search = MtuSearch(1472, proven=BASE)
    search.next_probe(0.0)
    search.probed(1400, False)
    assert search.probing == 1472
    search.probed(1472, True)
    search.probed(1472, False)
    assert search.proven == 1472


def test_a_peer_that_takes_less_than_the_base_is_not_probed() -> None:
    search = MtuSearch(1200, proven=1200)
    assert search.next_probe(0.0) == 0
    assert search.proven == 1200


def test_a_smaller_interface_limits_at_once_and_what_is_left_is_confirmed() -> None:
    search = MtuSearch(1472)
    drive(search, 1472)
    search.limit(1372)
    assert search.proven == 1372
    assert drive(search, 1472) == [1372]


def test_a_larger_interface_is_used_at_once() -> None:
    search = MtuSearch(1472)
    drive(search, 9000)
    search.limit(8972)
    assert drive(search, 9000) == [8972]
    assert search.phase is Phase.COMPLETE


def test_the_same_limit_changes_nothing() -> None:
    search = MtuSearch(1472)
    drive(search, 1400)
    search.limit(1472)
    assert drive(search, 1472) == []


def test_a_probe_larger_than_the_new_limit_counts_no_more() -> None:
    search = MtuSearch(8972, proven=BASE)
    assert search.next_probe(0.0) == 8972
    search.limit(1472)
    search.probed(8972, True)
    assert search.proven == BASE
    assert drive(search, 1472) == [1472]


def test_an_interface_that_takes_less_than_the_base_is_hopeless() -> None:
    search = MtuSearch(1472)
    drive(search, 1472)
    search.limit(BASE - 1)
    assert search.phase is Phase.FAILED
    assert search.next_probe(0.0) == 0
