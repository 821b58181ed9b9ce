"""Network namespaces for tests: a Net makes them, runs commands and programs in them, and removes all of it.

Names carry the process id, so that two test runs on one machine never meet. The machine's own namespace is
never touched. Whatever still runs in one of our namespaces when the Net closes is ended by its process id. One that
nobody closed, as pytest does not after a second SIGINT, is closed when the process ends.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import IO, Any, ClassVar

from tests.lab.unchanged import Unchanged

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "lab"


class LabError(Exception):
    """The test bed could not be set up, or what was waited for did not happen."""


def run(*argv: str, timeout: float = 60, check: bool = True) -> str:
    """Run a command to its end and return its standard output; raises LabError with both outputs."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], Any], timeout: float = 10, every: float = 0.05) -> Any:
    """The first true answer of condition; raises LabError when there is none within timeout seconds."""
    give_up = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > give_up:
            raise LabError(f"not within {timeout:g} s: {what}")
        time.sleep(every)
    return answer


def stop(process: subprocess.Popen[Any], timeout: float = 10) -> int:
    """SIGTERM, then SIGKILL after timeout seconds; returns the exit status."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Namespace:
    """One network namespace, with `lo` up. Made and removed by its Net."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unchanged = Unchanged(name)
        run("ip", "netns", "add", name)

    def run(self, *argv: str, timeout: float = 60, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.name, *argv, timeout=timeout, check=check)

    def ip(self, *argv: str) -> str:
        """`ip -n NAME argv`: without a shell in the namespace, so it is quick."""
        return run("ip", "-n", self.name, *argv)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the namespace. `ip netns exec` becomes the program, so the pid is its own."""
        return subprocess.Popen(("ip", "netns", "exec", self.name, *argv), cwd=ROOT, **options)

    def sysctl(self, **values: int) -> None:
        """Set sysctls below `net`, written with `__` for the dot: ipv4__ip_forward=1."""
        self.run("sysctl", "-qw", *(f"net.{key.replace('__', '.')}={value}" for key, value in values.items()))

    def traffic(self, interface: str) -> tuple[int, int]:
        """Bytes that the interface has sent and received, as the kernel counts them."""
        counters = json.loads(self.ip("-j", "-s", "link", "show", "dev", interface))[0]["stats64"]
        return counters["tx"]["bytes"], counters["rx"]["bytes"]

    def processes(self) -> list[int]:
        return _processes(self.name)

    def remove(self) -> None:
        _remove(self.name)


def _processes(namespace: str) -> list[int]:
    return [int(pid) for pid in run("ip", "netns", "pids", namespace, check=False).split()]


def _remove(namespace: str) -> None:
    for pid in _processes(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run("ip", "netns", "delete", namespace, check=False)


def _close_all() -> None:
    """This process ends: whatever interrupted it, and where, nothing of its Nets stays. What interrupts now is too
    late."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for net in [net for net in Net.entered if net.owner == os.getpid()]:
        with contextlib.suppress(Exception):
            net.__exit__(KeyboardInterrupt, None, None)
    for path in Path("/run/netns").glob(f"mq{os.getpid()}-*"):
        _remove(path.name)


def _remove_orphans() -> None:
    """Remove the namespaces of test runs that were killed before they could do so themselves."""
    for path in Path("/run/netns").glob("mq*-*"):
        owner = re.match(r"mq(\d+)-\d+-", path.name)
        if owner and not Path("/proc", owner[1]).exists():
            run("ip", "netns", "delete", path.name, check=False)


class Net:
    """Context manager: namespaces and veth links that live as long as the `with` block."""

    entered: ClassVar[list[Net]] = []  # and not closed yet; also by the process that this one was forked from
    _watched: ClassVar[set[int]] = set()  # processes whose end will be noticed
    _serial = itertools.count()

    def __init__(self, *, strict_rp_filter: bool = False) -> None:
        self.owner = os.getpid()
        self._prefix = f"mq{self.owner}-{next(self._serial)}"
        self._rp_filter = 1 if strict_rp_filter else 0
        self._stack = contextlib.ExitStack()
        self.directory = BUILD / self._prefix

    def __enter__(self) -> Net:
        _remove_orphans()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.owner not in self._watched:
            self._watched.add(self.owner)
            Finalize(None, _close_all, exitpriority=0)  # atexit does not work in the children of multiprocessing
        self.entered.append(self)
        return self

    def __exit__(self, *details: Any) -> None:
        self._stack.__exit__(*details)
        self.entered.remove(self)

    def enter(self, resource: Any) -> Any:
        """Enter a context manager that is to be left when this Net closes, before its namespaces go."""
        return self._stack.enter_context(resource)

    def callback(self, function: Callable[[], object]) -> None:
        """Call the function when this Net closes, before what was made earlier goes."""
        self._stack.callback(function)

    def namespace(self, name: str) -> Namespace:
        namespace = Namespace(f"{self._prefix}-{name}")
        self._stack.callback(namespace.remove)
        namespace.ip("link", "set", "lo", "up")
        # New addresses are usable at once: duplicate address detection would take a second.
        namespace.sysctl(
            ipv6__conf__default__accept_dad=0,
            ipv4__conf__all__rp_filter=self._rp_filter,
            ipv4__conf__default__rp_filter=self._rp_filter,
        )
        return namespace

    def daemon_starts(self, namespace: Namespace, state: Path) -> None:
        """To be called before each: as the first one finds the namespace it must be again when this Net closes.

        state: the directory of its undo journal. What a test itself changes for good it tells namespace.unchanged.
        """
        if not namespace.unchanged.is_watched:
            self._stack.push(functools.partial(_check_unchanged, namespace))
        namespace.unchanged.watch(state)

    def veth(self, a: Namespace, a_interface: str, b: Namespace, b_interface: str) -> None:
        """Join two namespaces by a plain, unshaped link. Its ends are still down and without address."""
        end = ("peer", "name", b_interface, "netns", b.name)
        a.ip("link", "add", a_interface, "type", "veth", *end)

    def log(self, name: str) -> Path:
        """A file of this Net for a program's output; kept after the test."""
        return self.directory / name


def _check_unchanged(namespace: Namespace, failure: type[BaseException] | None, *_: object) -> None:
    """Unless the test has failed already."""
    if failure is None and (left := namespace.unchanged.left()):
        raise AssertionError("\n".join((f"left in {namespace.name}:", *left)))


@contextlib.contextmanager
def program(namespace: Namespace, *argv: str, log: Path, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program in the namespace for as long as the block lasts, its output in the file `log`."""
    out: IO[bytes]
    with log.open("ab") as out:
        process = namespace.popen(*argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        stop(process)
