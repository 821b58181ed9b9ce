"""The page tests/bench/report/README.md: what was measured, on which machine, and whether it is what was promised.

It is made of build/bench/*.json. The plots need matplotlib (the extra `bench`); without it the page has tables only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.record import DIRECTORY
from tests.bench.targets import TARGETS, Results

PAGE = Path(__file__).with_name("report") / "README.md"
Row = tuple[str, ...]
INTRODUCTION = """\
# Measured

Made by `packaging/bench --report` from the results of `packaging/bench`. All programs run on one machine, in network
namespaces. The figures are medians; ± is half the distance between the extremes of the repetitions. What is compared
was measured in the same run, in turns. Absolute figures do not travel from machine to machine: ratios do.

- **raw**: the link without any tunnel
- **ceiling**: encryption and offloads without a transport protocol (`tests/bench/ceiling.c`), so the most
  that this machine can do
- **tunnel**: mqvpn; where two links are used, by the scheduler that is named, or over link A or B alone
"""


def table(heading: Row, rows: Sequence[Row]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    rule = ("---", *("---:" for _ in heading[1:]))
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *rows))


def targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        value = target.value(results)
        limit = f"{'at most' if target.at_most else 'at least'} {target.wanted:g}"
        rows.append((target.text, limit, "" if value is None else f"{value:.3g}", target.verdict(results)))
    return table(("promise", "wanted", "measured", ""), rows)


def figure_text(figure: dict[str, Any]) -> str:
    text = f"{figure['median']:.4g}"
    half = (max(figure["values"]) - min(figure["values"])) / 2
    return f"{text} ± {float(f'{half:.2g}'):g}" if len(figure["values"]) > 1 else text


def quantities(figures: list[dict[str, Any]]) -> Iterator[str]:
    """For each quantity of a scenario one table: a row for each case, a column for each way."""
    ways = list(dict.fromkeys(figure["way"] for figure in figures))
    for quantity in dict.fromkeys(figure["quantity"] for figure in figures):
        cells = {(f["case"], f["way"]): figure_text(f) for f in figures if f["quantity"] == quantity}
        cases = list(dict.fromkeys(case for case, _ in cells))
        columns = [way for way in ways if any((case, way) in cells for case in cases)]
        rows = [(case, *(cells.get((case, way), "") for way in columns)) for case in cases]
        yield table((quantity, *columns), rows)


def section(scenario: dict[str, Any], pictures: list[str]) -> str:
    """One scenario: when and what, its plots, its tables."""
    facts = f"{scenario['started']}, revision {scenario['revision'] or 'unknown'}, "
    facts += f"{scenario['rounds']} rounds of {scenario['seconds']:g} s"
    notes = [f"- {way}: {text}" for way, text in scenario["notes"].items()]
    images = [f"![{name.removesuffix('.png')}]({name})" for name in pictures]
    parts = [f"## {scenario['scenario']}", facts, "\n".join(notes), *images, *quantities(scenario["figures"])]
    return "\n\n".join(part for part in parts if part)


def machine(results: Results) -> str:
    """The machine of the newest scenario, and the load average before each."""
    newest = max(results.scenarios.values(), key=lambda one: str(one["started"]))
    facts = {key: value for key, value in newest["machine"].items() if key != "load"}
    loads = ", ".join(f"{name} {one['machine']['load']:.1f}" for name, one in results.scenarios.items())
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    return "\n".join(["## Machine", "", *lines, f"- load average before each scenario: {loads}"])


def write(results: Results, page: Path, pictures: dict[str, list[str]]) -> None:
    sections = [section(one, pictures.get(name, [])) for name, one in results.scenarios.items()]
    parts = [INTRODUCTION, "## Promises", targets(results), machine(results), *sections]
    page.write_text("\n\n".join(part.strip() for part in parts) + "\n")


def main() -> int:
    results = Results.read(DIRECTORY)
    if not results.scenarios:
        print(f"bench: no results in {DIRECTORY}; measure first: sudo packaging/bench", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    pictures: dict[str, list[str]] = {}
    try:
        from tests.bench import plots
    except ImportError:
        print("bench: no plots without matplotlib: .venv/bin/pip install matplotlib", file=sys.stderr)
    else:
        pictures = plots.draw(results, PAGE.parent)
    write(results, PAGE, pictures)
    print(PAGE)
    return 0
