"""Links of a given rate, delay, loss and queue between namespaces, and their failures, by the program linkem.

The emulator is compiled on first use. It ends, and takes its interfaces away, with the `with` block or with
this process, whatever comes first: it lives by its standard input.
"""

from __future__ import annotations

import fcntl
import subprocess
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

from tests.lab.net import BUILD, LabError, Namespace

SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class Shape:
    """What a link does to packets, the same in both directions. Zero means: not at all."""

    rate: float = 0  # Mbit/s
    delay: float = 0  # ms, one way
    jitter: float = 0  # ms, standard deviation; the order is kept
    queue: float = 100  # ms at the bottleneck, then tail drop
    loss: float = 0  # percent
    duplicate: float = 0  # percent
    reorder: float = 0  # percent, held back by 5 ms
    mtu: float = 0  # bytes; larger packets vanish, whatever the interfaces say

    def __str__(self) -> str:
        return ",".join(f"{field.name}={getattr(self, field.name):g}" for field in fields(self))


@dataclass(frozen=True)
class Link:
    """One emulated link: a name and its two ends, each a namespace and the interface to make there."""

    name: str
    a: Namespace
    a_interface: str
    b: Namespace
    b_interface: str
    shape: Shape = Shape()

    def __str__(self) -> str:
        a, b = f"{self.a.name}/{self.a_interface}", f"{self.b.name}/{self.b_interface}"
        return f"{self.name}:{a}:{b}:{self.shape}"


def processor() -> str:
    """Its model, and what it can do: under a hypervisor one name stands for several."""
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "CPU part", "Features")))


def compiled(name: str, *flags: str) -> Path:
    """The program made of tests/NAME.c, in build/, of these flags for this processor, as -march=native makes one that
    others may not run; compiled again when its source is newer."""
    source = SOURCES.parent / f"{name}.c"
    program = BUILD.parent / f"{source.stem}-{zlib.crc32(repr((flags, processor())).encode()):08x}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "compile.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *flags]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise LabError(f"{' '.join(command)}\n{done.stderr}")
    return program


class Emulator:
    """Context manager: the links exist, still down and without address, as long as the block lasts."""

    def __init__(self, *links: Link) -> None:
        self._argv = [str(compiled("lab/linkem", "-lm")), *map(str, links)]

    def __enter__(self) -> Emulator:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        try:
            self._answer()
        except LabError as error:
            raise LabError(f"{error}: {self._process.communicate()[1]}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def set(self, link: str, **parameters: float) -> None:
        """Change a running link: set("a", rate=10, loss=1), set("a", blackhole=1), set("a", carrier=0)."""
        pairs = ",".join(f"{key}={value:g}" for key, value in parameters.items())
        self._ask(f"{link} {pairs}")

    def counters(self) -> dict[str, dict[str, int]]:
        """By link and direction ("a.ab"): packets received, sent, lost, overflowed, swallowed; bytes sent."""
        rows = [line.split() for line in self._ask("stats")]
        return {name: {k: int(v) for k, v in (pair.split("=") for pair in pairs)} for name, *pairs in rows}

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> list[str]:
        assert self._process.stdout is not None
        lines: list[str] = []
        while (line := self._process.stdout.readline().rstrip("\n")) != "ok":
            if line == "":
                raise LabError("the link emulator has ended")
            if line == "error":
                raise LabError("the link emulator refused a command")
            lines.append(line)
        return lines
