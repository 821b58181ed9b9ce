"""Path states (draft-ietf-quic-multipath-21, section 3; RFC 9000, section 8.2).

A path is validated only by its own PATH_RESPONSE: one path's answer never validates another, even on the same
4-tuple. It carries IP packets only once its MTU is proven. Whether it is AVAILABLE or BACKUP, or suspect, is
no state.
"""

from enum import Enum, auto
from typing import Final


class PathState(Enum):
    """Where a path is in its life."""

    OPENING = auto()  # known; waits for a connection ID or for its turn to be validated
    VALIDATING = auto()  # PATH_CHALLENGE sent
    PROVING = auto()  # validated; padded PINGs look for its MTU
    ACTIVE = auto()  # carries IP packets
    ABANDONED = auto()  # PATH_ABANDON sent or received: nothing is sent, late packets are still read
    CLOSED = auto()  # forgotten; its ID is never used again


class PathInput(Enum):
    """What moves a path from one state to the next."""

    HANDSHAKE = auto()  # the handshake validated path 0 and its padded Initials proved the MTU
    CHALLENGED = auto()
    RESPONSE = auto()  # PATH_RESPONSE with our data
    MTU_PROVEN = auto()
    ABANDON = auto()
    DRAINED = auto()  # three probe timeouts after PATH_ABANDON


# An absent pair is illegal.
TRANSITIONS: Final = {
    (PathState.OPENING, PathInput.HANDSHAKE): PathState.ACTIVE,
    (PathState.OPENING, PathInput.CHALLENGED): PathState.VALIDATING,
    (PathState.VALIDATING, PathInput.RESPONSE): PathState.PROVING,
    (PathState.PROVING, PathInput.MTU_PROVEN): PathState.ACTIVE,
    (PathState.OPENING, PathInput.ABANDON): PathState.ABANDONED,
    (PathState.VALIDATING, PathInput.ABANDON): PathState.ABANDONED,
    (PathState.PROVING, PathInput.ABANDON): PathState.ABANDONED,
    (PathState.ACTIVE, PathInput.ABANDON): PathState.ABANDONED,
    (PathState.ABANDONED, PathInput.DRAINED): PathState.CLOSED,
}

LIVE: Final = frozenset({PathState.OPENING, PathState.VALIDATING, PathState.PROVING, PathState.ACTIVE})


def next_state(state: PathState, event: PathInput) -> PathState:
    """Return the state after `event`; raises ValueError if it cannot happen in `state`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event.name} in state {state.name}") from None
