"""One pair of machines for the tests of a module: booting is quick, but not free. Each test begins with a stopped,
clean pair, and when both services are stopped again their network must be as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

import pytest

from tests.conftest import missing_for_netns
from tests.lab.machine import CannotBoot, missing_for_machines
from tests.lab.net import LabError, Net, wait_for
from tests.lab.unchanged import Unchanged
from tests.machine.tunnel import CLIENT, SERVER, Pair, build_pair


@pytest.fixture(scope="module")
def machines() -> Iterator[Pair]:
    if reason := missing_for_netns() or missing_for_machines():
        pytest.skip(reason)
    with Net() as net:
        try:
            pair = build_pair(net)
        except CannotBoot as error:
            pytest.skip(f"machines cannot be booted: {error}")
        yield pair


@pytest.fixture
def pair(machines: Pair) -> Iterator[Pair]:
    watched = [machines.client.namespace, machines.server.namespace]
    for namespace in watched:
        namespace.unchanged = Unchanged(namespace.name)
        namespace.unchanged.watch()
    yield machines
    for machine, unit in ((machines.client, CLIENT), (machines.server, SERVER)):
        machine.run("systemctl", "stop", unit)
        machine.run("systemctl", "reset-failed", unit, check=False)
        machine.run("rm", "-rf", f"/run/systemd/system/{unit}.service.d", f"/etc/systemd/system/{unit}.service.d")
        machine.run("systemctl", "daemon-reload")
    with contextlib.suppress(LabError):  # a unit of its own lifts the block
        wait_for("all is undone", lambda: not any(namespace.unchanged.left() for namespace in watched), 20)
    for namespace in watched:
        assert namespace.unchanged.left() == [], f"left in {namespace.name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what both services logged."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    found = arguments.get("pair") or arguments.get("site")
    if report.failed and found is not None:
        for machine, unit in ((found.client, CLIENT), (found.server, SERVER)):
            report.sections.append((unit, machine.run("journalctl", "-n60", "-ocat", "-u", unit, check=False)))
    return report
