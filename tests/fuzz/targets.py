"""The targets by name, and the one rule for all: an input raises nothing, ends soon and leaves little behind."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import ends, frames, parsers

SEEDS = Path(__file__).with_name("seeds")
CPU_SECONDS = 0.1  # for one input
GROWTH = 64 << 10  # KiB that the process may grow by after its first inputs
SETTLED_AFTER = 2000  # inputs


@dataclass(frozen=True, slots=True)
class Target:
    """`make` returns what takes one input. in_pieces: inputs are rows of tests.fuzz.pieces."""

    make: Callable[[], Callable[[bytes], None]]
    in_pieces: bool = False
    is_connection: bool = False  # one input may use up a connection


TARGETS = {
    "capsules": Target(lambda: parsers.capsules),
    "configuration": Target(parsers.Configuration),
    "packets": Target(lambda: parsers.packets),
    "headers": Target(lambda: parsers.headers),
    "super-packets": Target(parsers.SuperPackets, in_pieces=True),
    "frames": Target(frames.Frames, in_pieces=True),
    "server-before": Target(lambda: ends.Before(of_server=True), in_pieces=True, is_connection=True),
    "client-before": Target(lambda: ends.Before(of_server=False), in_pieces=True, is_connection=True),
    "server-after": Target(lambda: ends.After(of_server=True), in_pieces=True, is_connection=True),
    "client-after": Target(lambda: ends.After(of_server=False), in_pieces=True, is_connection=True),
    "parameters": Target(ends.Parameters, is_connection=True),
}


class Watch:
    """Runs inputs of one target one after another, and holds each against the rule."""

    def __init__(self, name: str, *, slowness: float = 1.0) -> None:
        """slowness: how many times longer an input may take than usual."""
        self._run: Any = TARGETS[name].make()
        self._limit = CPU_SECONDS * slowness
        self.count = 0
        self._settled = 0

    def __call__(self, data: bytes) -> None:
        """Raises whatever the target raises, or AssertionError when the rule is broken."""
        self.prepare()
        start = time.process_time()
        self._run(data)
        taken = time.process_time() - start
        assert taken < self._limit, f"{taken:.3f} s of CPU time for one input"
        self.count += 1
        if self.count % SETTLED_AFTER == 0:
            self._check_growth()

    def prepare(self) -> None:
        """Make what the next input needs, if need be; not part of the measured time."""
        if isinstance(self._run, ends.Ends):
            self._run.prepare()

    def used_up(self) -> bool:
        """Whether the next input needs something new."""
        return isinstance(self._run, ends.Ends) and self._run.used_up()

    def history(self) -> bytes:
        """All that the target was given since its state was new, as one input; empty: it keeps none."""
        return b"".join(getattr(self._run, "history", ()))

    def _check_growth(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._settled = self._settled or peak
        assert peak < self._settled + GROWTH, f"the process grew by {peak - self._settled} KiB"


def seeds(name: str) -> list[bytes]:
    """The inputs that are kept for a target."""
    return [path.read_bytes() for path in sorted((SEEDS / name).iterdir())]
