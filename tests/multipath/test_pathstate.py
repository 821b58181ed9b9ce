"""The path state table: every state with every input."""

import itertools

import pytest

from mqvpn.multipath.pathstate import LIVE, TRANSITIONS, PathInput, PathState, next_state


@pytest.mark.parametrize(("state", "event"), list(itertools.product(PathState, PathInput)))
def test_only_what_the_table_lists_can_happen(state: PathState, event: PathInput) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(ValueError, match=event.name):
            next_state(state, event)


@pytest.mark.parametrize("state", PathState)
def test_closed_can_be_reached_from_everywhere(state: PathState) -> None:
    reached = {state}
    for _ in PathState:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert PathState.CLOSED in reached


def test_no_path_carries_packets_before_its_response_and_its_mtu_proof() -> None:
    to_active = {before: event for (before, event), after in TRANSITIONS.items() if after is PathState.ACTIVE}
    assert to_active == {
        PathState.PROVING: PathInput.MTU_PROVEN,
        PathState.OPENING: PathInput.HANDSHAKE,
    }


def test_an_abandoned_path_never_lives_again() -> None:
    assert all(TRANSITIONS[pair] not in LIVE for pair in TRANSITIONS if pair[0] not in LIVE)
