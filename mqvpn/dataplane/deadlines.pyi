"""The face of deadlines.pyx: which of many deadlines comes first."""

class Deadlines:
    def __init__(self, capacity: int) -> None:
        """For numbers below `capacity`. Raises MemoryError."""

    def grow(self, capacity: int) -> None:
        """Room for more numbers; what was set stays. Raises MemoryError."""

    def set(self, number: int, at: float) -> None:
        """Seconds; 0.0: none any more. Raises IndexError for a number that there is no room for."""

    def of(self, number: int) -> float:
        """0.0: none. Raises IndexError."""

    def first(self) -> float:
        """The earliest of all; 0.0: there is none."""

    def heap(self) -> list[tuple[float, int]]:
        """Deadlines and numbers as they stand: an entry at i has those at 2 i + 1 and 2 i + 2 below it."""
