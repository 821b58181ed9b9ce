"""Run the simulator's cases and print what each measured: `python -m tests.sim.table [pytest arguments]`."""

import sys
from pathlib import Path

import pytest

from tests.sim.traffic import Figures

HERE = Path(__file__).parent
ROW = "{:58} {:>9} {:>8} {:>9}  {}"


class Rows:
    """A plugin that collects the figures of each case."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        name = report.nodeid.split("/")[-1].replace(".py::test_", ": ").removeprefix("test_")
        values = [value for key, value in report.user_properties if key == "figures"]
        for figures in values or [None]:
            assert figures is None or isinstance(figures, Figures)
            measured = (f"{figures.goodput:.2f}", f"{figures.gap * 1000:.0f}", figures.spurious) if figures else "---"
            self.rows.append(ROW.format(name, *measured, report.outcome))


def main(arguments: list[str]) -> int:
    """Return pytest's exit status."""
    rows = Rows()
    files = [str(HERE / name) for name in ("test_picoquic_cases.py", "test_interop_cases.py")]
    status = pytest.main(["-q", "--no-header", *files, *arguments], plugins=[rows])
    print(ROW.format("case", "Mbit/s", "gap ms", "spurious", "outcome"), *rows.rows, sep="\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
