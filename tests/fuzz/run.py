"""python -m tests.fuzz.run TARGET: look for findings, with atheris or (--plain) with the small mutator.

--seconds or --runs says for how long; --seed: another row of inputs. What broke the rule is written to
build/fuzz/TARGET.finding; give it to --input to see it again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.targets import Watch

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _parser().parse_args()
    logging.getLogger("quic").setLevel(logging.CRITICAL)  # aioquic names every error of the peer
    if options.target == "list":
        from tests.fuzz.targets import TARGETS

        print(*TARGETS, sep="\n")
        return 0
    if options.input is not None:
        return _replay(options)
    return _plain(options) if options.plain else _atheris(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a name that `list` prints")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris: several times faster, but blind")
    parser.add_argument("--slowness", type=float, default=1.0, help="allow so many times more CPU time for an input")
    parser.add_argument("--input", type=Path, help="run only this file")
    return parser


def _replay(options: argparse.Namespace) -> int:
    from tests.fuzz.targets import Watch

    Watch(options.target)(options.input.read_bytes())
    print(f"fuzz: {options.target}: {options.input}: nothing found")
    return 0


def _plain(options: argparse.Namespace) -> int:
    from tests.fuzz import forks
    from tests.fuzz.mutate import inputs
    from tests.fuzz.targets import TARGETS, Watch, seeds

    watch, end = Watch(options.target, slowness=options.slowness), time.monotonic() + options.seconds
    rows = inputs(seeds(options.target), options.seed, in_pieces=TARGETS[options.target].in_pieces)
    if TARGETS[options.target].is_connection:
        count = forks.run(
            watch, rows, partial(_one, options.target, watch), runs=options.runs, over=lambda: time.monotonic() >= end
        )
        print(f"fuzz: {options.target}: {count} inputs, nothing found")
        return 0
    for data in rows:
        _one(options.target, watch, data)
        if watch.count >= options.runs or time.monotonic() >= end:
            break
    print(f"fuzz: {options.target}: {watch.count} inputs, nothing found")
    return 0


def _atheris(options: argparse.Namespace) -> int:
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["mqvpn", "aioquic"]):
        from tests.fuzz.targets import SEEDS, Watch
    watch = Watch(options.target, slowness=3.0 * options.slowness)
    corpus = ROOT / "build" / "fuzz" / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], str(corpus), str(SEEDS / options.target), f"-seed={options.seed}", "-max_len=4096"]
    arguments += [f"-max_total_time={options.seconds:.0f}", "-rss_limit_mb=1024", f"-artifact_prefix={corpus}."]
    if options.runs < sys.maxsize:
        arguments.append(f"-runs={options.runs}")
    atheris.Setup(arguments, lambda data: _one(options.target, watch, data))
    atheris.Fuzz()
    return 0


def _one(target: str, watch: Watch, data: bytes) -> None:
    try:
        watch(data)
    except Exception:
        found = ROOT / "build" / "fuzz" / f"{target}.finding"
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_bytes(watch.history() or data)
        print(f"fuzz: {target}: after {watch.count} inputs; the input is kept in {found}", file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())
