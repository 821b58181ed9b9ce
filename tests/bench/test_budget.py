"""The compiled path costs no more instructions per packet than budget.json says, within five percent.

When it costs less, the new figure is to be kept: .venv/bin/python -m tests.bench.budget --record
"""

from __future__ import annotations

import re

import pytest

from tests.bench import budget
from tests.bench.drive import CASES
from tests.lab.net import ROOT


@pytest.mark.parametrize("tool", budget.TOOLS)
def test_what_counts_is_installed_for_the_tests(tool: str) -> None:
    assert f" {tool}:" in (ROOT / "packaging/prepare").read_text()


def test_the_toolchain_names_the_cython_that_translated_the_engine() -> None:
    assert re.search(r", Cython \d+(\.\w+)+, ", budget.toolchain())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_instructions_per_packet(case: str) -> None:
    if reason := budget.missing():
        pytest.skip(reason)
    kept = budget.read().get(budget.toolchain(), {}).get(case)
    if kept is None:
        pytest.skip(f"budget.json has no figure for {budget.toolchain()}: python -m tests.bench.budget --record")
    counted = budget.count(case)
    print(f"{case}: {counted:.0f} instructions per packet, {kept:.0f} kept")
    assert counted <= kept * (1 + budget.TOLERANCE), "more than the budget allows"
    assert counted >= kept * (1 - budget.TOLERANCE), "less: keep it, python -m tests.bench.budget --record"
