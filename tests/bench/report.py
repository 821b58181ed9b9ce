"""The page tests/bench/report/README.md: what was measured, on which machine, and whether it is what was promised.

It is made of build/bench/*.json. The plots need matplotlib (the extra `bench`); without it the page has tables only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.record import DIRECTORY
from tests.bench.scenarios import SCENARIOS
from tests.bench.targets import TARGETS, Results, plural

PAGE = Path(__file__).with_name("report") / "README.md"
STOLEN = "stolen %"
Row = tuple[str, ...]
INTRODUCTION = """\
# Measured

Made by `packaging/bench --report` from the results of `packaging/bench`. All programs run on one machine, in network
namespaces. The figures are medians; ± is half the distance between the extremes of the repetitions, and "4 of 5" behind
a figure says that one of five repetitions failed and is not in it. What is compared was measured in the same run, in
turns. Absolute figures do not travel from machine to machine: ratios do.

- **raw**: the link without any tunnel
- **ceiling**: encryption and offloads without a transport protocol (`tests/bench/ceiling.c`): the most TCP throughput
  to be expected of a tunnel on this machine. For small packets and for latency it is no limit.
- **tunnel**: mqvpn, over all links of the scenario
- **A alone**, **B alone**: mqvpn over the first or the second link only
- **wlb**, **minrtt**, **redundant**: mqvpn over both links, by the scheduler of that name; wlb is the default

**up** is from the client to the server, **down** from the server to the client, **both** the sum of both at the same
time. **TCP 4** are four TCP flows at the same time (iperf3), and the sum of them. An **unshaped** link is a plain veth
pair, as fast as the machine. Links with a rate, a delay (of one direction) or losses are made by the test bed's own
relay (`tests/lab/linkem.c`); netem is not used.
"""
# What a stranger has to know about one scenario's figures, beside the docstring of its function.
EXPLANATIONS = {
    "small": "The highest rate at which less than one packet in a hundred is lost, in thousands of packets per second.",
    "latency": "Idle: nothing but the ping. Loaded: beside one TCP flow up that takes all it can get.",
    "fallbacks": "Without NAME: daemons as on a kernel that lacks this offload (`mqvpn/system/offloads.py`).",
    "dual": "Link A has 300 Mbit/s and a delay of 10 ms, link B 80 Mbit/s and 30 ms.",
    "quic": "The flow inside the tunnel is aioquic with CUBIC, measured from its fourth second on.",
    "failure": """\
Link A (300 Mbit/s, 10 ms) goes down with notice ("link down") or in silence ("blackhole") 8 s after the beginning and
comes back 8 s later (4 s and 4 s where the rounds are shorter than 4 s); link B (80 Mbit/s, 30 ms) stays. Meanwhile
500 UDP packets of 160 bytes per second go up, and "TCP beside" has four TCP flows up, too.

"Mbit/s before" is the mean of the second half of the time before the fault. "Mbit/s during" begins 1 s after the fault:
what the other link carries then; how long nothing arrived is told by the longest gap. "Mbit/s after" is the mean of
three seconds, from 4 s to 1 s before the end. "s until 90 %" counts from the repair to the first quarter of a second
that has 90 % of the rate before, as has the whole second that begins with it. The clock of TCP's receiver starts when
all flows are connected, so that its curve is early by up to 0.3 s. Therefore "s until 90 %" has 0.3 s added, and what
may belong to the time after the fault or the repair is left out of the rates before it.""",
    "environments": """\
These figures cannot be laid beside those of the C program's own report: jitter keeps the order of packets here and does
not with netem, which is used there; each link's queue holds 100 ms; and the flow inside the tunnel is aioquic with
CUBIC, which by itself makes no more than 100 to 200 Mbit/s.""",
    "clients": "Memory is the daemon's anonymous memory (`RssAnon`): mapped files, shared with others, are not in it.",
}
# How the page calls quantities whose names in the results are short.
LABELS = {
    "server MB": "server, MB of anonymous memory",
    "kB per client": "kB of anonymous memory per client",
    "Mbit/s during": "Mbit/s during, from 1 s after the fault on",
}


def table(heading: Row, rows: Sequence[Row]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    rule = ("---", *("---:" for _ in heading[1:]))
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *rows))


def number(value: float, digits: int = 4) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if abs(float(text)) >= 1000 else text


def rounds(repetitions: int, wanted: int) -> str:
    return str(wanted) if repetitions == wanted else f"{repetitions} of {wanted}"


def targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        limit = f"{'at most' if target.at_most else 'at least'} {target.wanted:g}"
        found = target.value(results)
        measured = ("", "") if found is None else (number(found.value, 3), rounds(found.repetitions, found.rounds))
        rows.append((target.text, limit, *measured, target.verdict(results)))
    return table(("promise", "wanted", "measured", "rounds", ""), rows)


def figure_text(figure: dict[str, Any], wanted: int) -> str:
    """The median, half the distance between the extremes, and how many repetitions there are if some are missing."""
    values = figure["values"]
    text = number(figure["median"])
    if len(values) > 1:
        text += f" ± {number(float(f'{(max(values) - min(values)) / 2:.2g}'))}"
    return text if len(values) == wanted else f"{text} ({len(values)} of {wanted})"


def quantities(scenario: dict[str, Any]) -> Iterator[str]:
    """For each quantity of a scenario one table: a row for each case, a column for each way."""
    figures, wanted = scenario["figures"], scenario["rounds"]
    ways = list(dict.fromkeys(figure["way"] for figure in figures))
    for quantity in dict.fromkeys(figure["quantity"] for figure in figures):
        if quantity == STOLEN:
            continue
        cells = {(f["case"], f["way"]): figure_text(f, wanted) for f in figures if f["quantity"] == quantity}
        cases = list(dict.fromkeys(case for case, _ in cells))
        columns = [way for way in ways if any((case, way) in cells for case in cases)]
        rows = [(case, *(cells.get((case, way), f"0 of {wanted}") for way in columns)) for case in cases]
        yield table((LABELS.get(quantity, quantity), *columns), rows)


def section(name: str, scenario: dict[str, Any] | None, pictures: dict[str, str]) -> str:
    """One scenario: what is measured, when it was, its plots, its tables."""
    described = (SCENARIOS[name].__doc__ or "").strip()
    heading = [f"## {name}", f"{described[0].upper()}{described[1:]}.", EXPLANATIONS.get(name, "")]
    if scenario is None:
        return "\n\n".join([*heading[:2], "Not measured."])
    facts = f"{scenario['started']}, revision {scenario['revision'] or 'unknown'}, "
    facts += f"{plural(scenario['rounds'], 'round')} of {scenario['seconds']:g} s"
    if stolen := [max(f["values"]) for f in scenario["figures"] if f["quantity"] == STOLEN]:
        facts += f"; the hypervisor took at most {number(max(stolen), 2)} % of the processors during a measurement"
    notes = [f"- {way}: {text}" for way, texts in scenario["notes"].items() for text in _list(texts)]
    images = [f"![{name}: {caption}]({file})" for file, caption in pictures.items()]
    parts = [*heading, facts, "\n".join(notes), *images, *quantities(scenario)]
    return "\n\n".join(part for part in parts if part)


def _list(texts: str | list[str]) -> list[str]:
    """Results of earlier versions have one note for each way."""
    return [texts] if isinstance(texts, str) else texts


def machines(results: Results) -> str:
    """The machine, or each one with its scenarios if they are not of the same; and the load average before each."""
    scenarios_of: dict[str, list[str]] = {}
    for name, scenario in results.scenarios.items():
        facts = "\n".join(f"- {key}: {value}" for key, value in scenario["machine"].items() if key != "load")
        scenarios_of.setdefault(facts, []).append(name)
    parts = ["## Machine"]
    for facts, names in scenarios_of.items():
        parts += [facts] if len(scenarios_of) == 1 else [f"For {', '.join(names)}:", facts]
    loads = ", ".join(f"{name} {one['machine']['load']:.1f}" for name, one in results.scenarios.items())
    return "\n\n".join([*parts, f"Load average before each scenario: {loads}"])


def write(results: Results, page: Path, pictures: dict[str, dict[str, str]]) -> None:
    sections = [section(name, results.scenarios.get(name), pictures.get(name, {})) for name in SCENARIOS]
    parts = [INTRODUCTION, "## Promises", targets(results), machines(results), *sections]
    page.write_text("\n\n".join(part.strip() for part in parts) + "\n")


def main() -> int:
    results = Results.read(DIRECTORY)
    if not results.scenarios:
        print(f"bench: no results in {DIRECTORY}; measure first: sudo packaging/bench", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    pictures: dict[str, dict[str, str]] = {}
    try:
        from tests.bench import plots
    except ImportError:
        print("bench: no plots without matplotlib: .venv/bin/pip install matplotlib", file=sys.stderr)
    else:
        pictures = plots.draw(results, PAGE.parent)
    write(results, PAGE, pictures)
    print(PAGE)
    return 0
