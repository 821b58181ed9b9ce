"""The states of an attempt at a tunnel (tunnel.client), and what leads from one to the other."""

from enum import Enum


class State(Enum):
    """Where an attempt stands."""

    CONNECTING = "connecting"
    REQUESTING = "requesting"
    UP = "up"
    CLOSED = "closed"


class Input(Enum):
    """What moves an attempt on."""

    HANDSHAKE = "handshake complete"
    ADDRESSES = "addresses assigned"
    END = "closed by either end, refused, failed or timed out"


TRANSITIONS = {
    (State.CONNECTING, Input.HANDSHAKE): State.REQUESTING,
    (State.REQUESTING, Input.ADDRESSES): State.UP,
    (State.CONNECTING, Input.END): State.CLOSED,
    (State.REQUESTING, Input.END): State.CLOSED,
    (State.UP, Input.END): State.CLOSED,
}
