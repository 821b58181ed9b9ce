"""Instructions per packet of the compiled path, counted by callgrind: a figure that a busy machine does not change.

    python -m tests.bench.budget            count, and compare with budget.json
    python -m tests.bench.budget --record   count, and keep the result there

The count depends on the compilers, C's and Cython, on OpenSSL and Python, so budget.json has a set of figures for each
combination of them. How the packets are driven is drive.py's matter. What is counted: the engine's functions and
Tun.write with all they call, at both ends together; reading from the TUN device is not in it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import mqvpn.dataplane.engine
import mqvpn.dataplane.tun
from tests.bench.drive import CASES
from tests.lab.net import ROOT, LabError

FILE = Path(__file__).with_name("budget.json")
TOLERANCE = 0.05
TOOLS = ("valgrind", "cc")
COUNTED = {
    mqvpn.dataplane.engine: ("Engine", ("from_tun", "transmit", "receive", "timeout")),
    mqvpn.dataplane.tun: ("Tun", ("write",)),
}
Budget = dict[str, dict[str, float]]  # toolchain -> case -> instructions per packet


def cython() -> str:
    """The version of Cython that translated the engine: the one installed may be another by now."""
    match = re.search(rb"_cython_(\d+(?:_[0-9a-z]+)+)\0", image(mqvpn.dataplane.engine))
    return match[1].decode().replace("_", ".") if match else "unknown"


def toolchain() -> str:
    """What decides about the machine code beside our sources."""
    compiler = subprocess.run(("cc", "-dumpversion"), capture_output=True, text=True, check=True).stdout.strip()
    openssl = ".".join(map(str, ssl.OPENSSL_VERSION_INFO[:2]))
    python = ".".join(map(str, sys.version_info[:2]))
    return f"cc {compiler}, Cython {cython()}, OpenSSL {openssl}, Python {python}, {platform.machine()}"


def image(module: ModuleType) -> bytes:
    """The machine code of a compiled module."""
    assert module.__file__ is not None
    return Path(module.__file__).read_bytes()


def missing() -> str | None:
    """Why nothing can be counted here, or None."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def entries() -> list[str]:
    """The C names of the counted functions. Cython numbers a class's methods, so they are looked up."""
    found = []
    for module, (owner, methods) in COUNTED.items():
        code = image(module)
        for method in methods:
            match = re.search(rb"\0(__pyx_pw_\w*%d%b_\d+%b)\0" % (len(owner), owner.encode(), method.encode()), code)
            if match is None:
                raise LabError(f"{module.__file__}: no symbol of {owner}.{method}; was it stripped?")
            found.append(match[1].decode())
    return found


def count(case: str) -> float:
    """Instructions per packet; raises LabError with what valgrind said."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "callgrind")
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--collect-atstart=no"]
        argv += [f"--toggle-collect={name}" for name in entries()]
        argv += [sys.executable, "-m", "tests.bench.drive", case]
        # One hash seed for all runs: the order in which Python walks its own tables counts too.
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        totals = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)
    if totals is None:
        raise LabError("callgrind has counted nothing")
    return int(totals[1]) / int(done.stdout)


def read() -> Budget:
    budget: Budget = json.loads(FILE.read_text()) if FILE.exists() else {}
    return budget


def main() -> int:
    if reason := missing():
        print(f"budget: {reason}", file=sys.stderr)
        return 77
    budget = read()
    known = budget.get(toolchain(), {})
    counted = {case: round(count(case), 1) for case in CASES}
    for case, instructions in counted.items():
        before = f"{instructions / known[case] - 1:+.1%}" if case in known else "new"
        print(f"{case}: {instructions:.0f} instructions per packet ({before}), {toolchain()}")
    if "--record" in sys.argv[1:]:
        FILE.write_text(json.dumps(budget | {toolchain(): counted}, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
