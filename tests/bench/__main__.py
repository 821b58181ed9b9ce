"""The bench's command line; packaging/bench prepares the checkout and calls it.

Exit status: 0 measured or reported, 1 a scenario failed, 2 wrong usage, 77 this machine cannot run it,
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.bench import report
from tests.bench.record import DIRECTORY, Record
from tests.bench.scenarios import SCENARIOS
from tests.conftest import missing_for_netns
from tests.lab.net import LabError

CANNOT, INTERRUPTED = 77, 130
ROUNDS, SECONDS = 5, 6.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 2.0


def parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:14}{scenario.__doc__}" for name, scenario in SCENARIOS.items())
    answer = argparse.ArgumentParser(
        prog="packaging/bench",
        description="Measure the tunnel, beside raw links, a ceiling or other VPNs, in network namespaces.",
        epilog=f"scenarios (all if none is named):\n{names}\nresults: {DIRECTORY}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    answer.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="what to measure")
    answer.add_argument("--quick", action="store_true", help="once and briefly (all: 15 minutes)")
    answer.add_argument("--rounds", type=int, metavar="N", help=f"repetitions of each measurement ({ROUNDS})")
    answer.add_argument("--seconds", type=float, metavar="S", help=f"length of each measurement ({SECONDS:g})")
    answer.add_argument("--report", action="store_true", help="make the page tests/bench/report of the results")
    return answer


def measure(name: str, *, rounds: int, seconds: float) -> bool:
    """Run one scenario and write its figures; those of an interrupted one are lost. False: it failed."""
    record = Record(name, rounds=rounds, seconds=seconds)
    try:
        SCENARIOS[name](record)
    except LabError as error:
        record.say(f"failed: {error}")
        return False
    except Exception:  # a scenario that breaks must not take the others with it
        traceback.print_exc()
        return False
    record.say(f"written to {record.write()}")
    return True


def main() -> int:
    usage = parser()
    options = usage.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        usage.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if options.report:
        return report.main()
    if reason := missing_for_netns():
        print(f"bench: {reason}", file=sys.stderr)
        return CANNOT
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    try:
        done = [measure(name, rounds=rounds, seconds=seconds) for name in options.scenarios or SCENARIOS]
    except KeyboardInterrupt:  # what was set up is gone by now
        return INTERRUPTED
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
