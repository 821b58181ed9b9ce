"""How a frame of a 1-RTT packet came."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a frame beside its fields."""

    path_id: int
    frame_type: int
    now: float
    sequence: int = -1  # of our connection ID that the packet came to
