"""All scenarios by name, in the order of the page; the first line of each one's docstring says what it measures."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.clients import clients
from tests.bench.dual import dual, environments, quic
from tests.bench.failure import failure
from tests.bench.record import Record
from tests.bench.single import cpu, fallbacks, latency, single, small

SCENARIOS: dict[str, Callable[[Record], None]] = {
    scenario.__name__: scenario
    for scenario in (single, small, latency, cpu, fallbacks, dual, quic, failure, environments, clients)
}
