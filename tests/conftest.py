"""What every test may rely on: tests that need more than this machine offers are skipped, with the reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator

import pytest

from tests.lab.machine import CannotBoot, Machine, boot, join, missing_for_machines
from tests.lab.net import Net

TOOLS = ("ip", "nft", "ping", "ss", "sysctl", "iperf3", "cc")


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


@pytest.fixture
def net() -> Iterator[Net]:
    """An empty test bed; what a test makes in it is gone after the test. Daemons must leave it as they found it."""
    with Net() as net:
        yield net


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
    """Show with a failed test the end of every log that its test bed wrote."""
    report = yield
    net = getattr(item, "funcargs", {}).get("net")
    if report.failed and net is not None:
        for log in sorted(net.directory.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-60:]
            report.sections.append((str(log), "\n".join(lines)))
    return report
