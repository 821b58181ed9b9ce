"""The compiled modules with bounds checks, AddressSanitizer and UBSan, against seeds and the data plane's own tests.

The first run builds them (packaging/build --sanitize, about a minute), later ones build what changed. A read
beyond a buffer ends the process, with a report that names the line of the generated C.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROOF = """
import mqvpn.dataplane.engine as engine
assert "sanitize" in engine.__file__, engine.__file__
assert "libasan" in open("/proc/self/maps").read()
"""
TARGETS = {"frames": 400, "super-packets": 1500, "server-after": 15, "client-after": 15}  # and how many inputs
# What is not of the data plane's logic (drawing random packets by the thousand, measuring) is left out here.
LONG = "speed or test_memory or wlb or minrtt or batches_are_written or 64_segments or equal_the_twins or give_back"


@cache
def environment() -> dict[str, str]:
    """What a Python with the sanitized modules runs with; skips where there is no AddressSanitizer."""
    library = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("libasan.so is not installed: the compiler's AddressSanitizer is needed")
    subprocess.run([ROOT / "packaging" / "build", "--sanitize"], check=True)
    return os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=16",  # Python frees little at its end; growth is watched
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # each object in a block of its own, so that ASan sees where it ends
        "PYTHONPATH": f"{ROOT}/build/sanitize:{ROOT}",
        "PYTHONSAFEPATH": "1",
    }


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]


def test_what_runs_is_sanitized() -> None:
    run("-c", PROOF)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_finds_nothing_in_the_sanitized_modules(target: str) -> None:
    run("-m", "tests.fuzz.run", target, "--plain", "--runs", str(TARGETS[target]), "--slowness", "20")


@pytest.mark.long
def test_the_data_planes_tests_pass_sanitized() -> None:
    # -p mqvpn: imported before pytest puts the checkout, and so the ordinary build, first
    options = ("-q", "-p", "mqvpn", "-p", "no:cacheprovider", "--hypothesis-profile=ci")  # ci: no time limits
    run("-m", "pytest", *options, "tests/dataplane", "-k", f"not ({LONG})")
