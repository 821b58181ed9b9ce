"""Simulator cases note what they measured, for the table (python -m tests.sim.table)."""

from collections.abc import Callable

import pytest

from tests.sim.traffic import Figures


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[Figures], Figures]:
    """Note the figures of this case and return them."""

    def measured(figures: Figures) -> Figures:
        record_property("figures", figures)
        return figures

    return measured
