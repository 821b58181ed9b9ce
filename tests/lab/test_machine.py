"""The booted machines are what the system tests take them for."""

from __future__ import annotations

import pytest

from tests.conftest import boot_or_skip
from tests.lab.machine import Machine
from tests.lab.net import LabError, Net


@pytest.mark.machine
def test_a_machine_is_a_debian_with_systemd(machine: Machine) -> None:
    assert machine.run("cat", "/proc/1/comm") == "systemd\n"
    assert "VERSION_CODENAME=trixie" in machine.run("cat", "/etc/os-release")
    assert machine.run("systemctl", "is-system-running") == "running\n"
    for unit in ("dbus", "systemd-resolved", "systemd-journald"):
        machine.wait_active(f"{unit}.service")
    allowed = "-pDeviceAllow=/dev/net/tun rw"
    machine.run("systemd-run", "-q", "--wait", allowed, "ip", "tuntap", "add", "t0", "mode", "tun")
    assert "t0" in machine.namespace.ip("link", "show", "dev", "t0")


@pytest.mark.machine
def test_units_log_and_fail_as_on_any_machine(machine: Machine) -> None:
    machine.write("/etc/systemd/system/sulks.service", "[Service]\nExecStart=sh -c 'echo no more; exit 3'\n")
    with pytest.raises(LabError, match="exit status 1"):
        machine.run("systemctl", "start", "--wait", "sulks")
    machine.wait_active("sulks", "failed")
    assert machine.show("sulks", "ExecMainStatus") == {"ExecMainStatus": "3"}
    assert [entry["MESSAGE"] for entry in machine.journal("_SYSTEMD_UNIT=sulks.service")] == ["no more"]


@pytest.mark.machine
def test_two_machines_are_joined_by_two_links(two_machines: tuple[Machine, Machine]) -> None:
    client, server = two_machines
    for address in ("10.1.0.1", "10.1.1.1", "198.51.100.1", "2001:db8:100::1"):
        assert "1 received" in client.run("ping", "-c1", "-W2", address)
    assert server.run("hostname") != client.run("hostname")


@pytest.mark.machine
def test_files_outlive_a_reboot_and_nothing_outlives_the_net() -> None:
    with Net() as inner:
        (machine,) = boot_or_skip(inner, "one")
        machine.write("/etc/kept", "yes")
        machine.reboot()
        assert machine.path("/etc/kept").read_text() == "yes"
        files = machine.path("/")
        assert files.exists()
    assert not files.exists()
