"""What every test may rely on: tests that need more than this machine offers are skipped, with the reason."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab.machine import CannotBoot, Machine, boot, join, missing_for_machines
from tests.lab.net import Net
from tests.lab.stolen import Stolen

pytest_plugins = ["pytester"]

TOOLS = ("ip", "nft", "ping", "ss", "sysctl", "iperf3", "cc")

RERUNS = 2  # of a test that failed while the hypervisor kept much of the processors
stolen = Stolen()

# How long an example takes says nothing where other suites run beside this one.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


def missing_for_netns() -> str | None:
    """Why this machine cannot run tests in network namespaces, or None."""
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no /dev/net/tun on this machine"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, reason in (("netns", missing_for_netns()), ("machine", missing_for_netns() or missing_for_machines())):
        for item in items:
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    rerun_when_stolen(items, lambda: stolen.much)


def rerun_when_stolen(items: Sequence[pytest.Item], much: Callable[[], bool]) -> None:
    """Tests that wait for a thread, a program or packets expect something of its pace: those that failed while `much`
    was stolen from this machine run again. All other failures count the first time."""
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=RERUNS, condition=much))


def pytest_sessionstart() -> None:
    stolen.start()


def pytest_sessionfinish() -> None:
    stolen.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    stolen.restart()


@pytest.fixture
def net() -> Iterator[Net]:
    """An empty test bed; what a test makes in it is gone after the test. Daemons must leave it as they found it."""
    with Net() as net:
        yield net


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What this process tells systemd (sd_notify(3)) arrives here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


@pytest.fixture
def machine(net: Net) -> Machine:
    """A freshly booted Debian 13; mark the test `machine`."""
    return boot_or_skip(net, "one")[0]


@pytest.fixture
def two_machines(net: Net) -> tuple[Machine, Machine]:
    """Two freshly booted ones, joined by two veths: up0 and up1 of the first, dn0 and dn1 of the second; see join."""
    first, second = boot_or_skip(net, "client", "server")
    join(net, first, second)
    return first, second


def boot_or_skip(net: Net, *names: str) -> list[Machine]:
    try:
        return boot(net, *names)
    except CannotBoot as error:
        pytest.skip(f"machines cannot be booted: {error}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the hypervisor did meanwhile, and the end of every log that its test bed wrote."""
    report = yield
    if report.failed:
        report.sections.append(("processors", str(stolen)))
    net = getattr(item, "funcargs", {}).get("net")
    if report.failed and net is not None:
        for log in sorted(net.directory.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-60:]
            report.sections.append((str(log), "\n".join(lines)))
    return report
