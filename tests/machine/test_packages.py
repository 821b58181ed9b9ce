"""The Debian packages from installation to purge, on machines that have nothing else of us. The tests run in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing_for_netns
from tests.lab.machine import CannotBoot, Machine, missing_for_machines, root_directory
from tests.lab.net import ROOT, LabError, Net, wait_for
from tests.machine.packages import CLIENT, FOLDER, INNER, SERVER, Site, apt, build, build_site, bumped, install

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def packages() -> Path:
    if reason := missing_for_netns() or missing_for_machines():
        pytest.skip(reason)
    try:
        root_directory()
        return build()
    except CannotBoot as error:
        pytest.skip(f"machines cannot be booted: {error}")


@pytest.fixture(scope="module")
def site(packages: Path) -> Iterator[Site]:
    with Net() as net:
        try:
            yield build_site(net, packages)
        except CannotBoot as error:
            pytest.skip(f"machines cannot be booted: {error}")


@pytest.fixture(params=["client", "server"])
def machine_unit(request: pytest.FixtureRequest, site: Site) -> tuple[Machine, str]:
    return (site.client, CLIENT) if request.param == "client" else (site.server, SERVER)


def main_pid(machine: Machine, unit: str) -> str:
    return machine.show(unit, "MainPID")["MainPID"]


def inner_addresses(machine: Machine) -> list[str]:
    """The global ones of the TUN device."""
    lines = machine.namespace.ip("-o", "address", "show", "dev", "mq-home", "scope", "global").splitlines()
    return [line.split()[3] for line in lines]


def test_a_tunnel_carries_traffic_over_every_link(site: Site) -> None:
    site.echo()
    listening = site.server.popen("iperf3", "-s", "-1", "-B", INNER)
    wait_for("iperf3 listens", lambda: ":5201 " in site.server.run("ss", "-Hltn"))
    report = json.loads(site.client.run("iperf3", "-J", "-c", INNER, "-t", "1", "-P", "4"))
    listening.wait(10)
    assert report["end"]["sum_received"]["bits_per_second"] > 10e6

    def carrying() -> bool:
        told = json.loads(site.client.run("mqvpnctl", "paths", "--json", "home"))["instances"][0]
        return {path["interface"] for path in told["paths"] if path["state"] == "active"} == {"up0", "up1"}

    wait_for("a path over each link", carrying)


def test_what_holds_a_key_is_for_root_and_the_daemon(site: Site) -> None:
    for machine, names in ((site.server, ("server.conf", "server.key")), (site.client, ("client-home.conf",))):
        for name in names:
            assert machine.run("stat", "-c", "%a %U:%G", f"/etc/mqvpn/{name}") == "640 root:mqvpn\n"
    with pytest.raises(LabError, match=r"client-home\.conf exists and is left as it is"):
        site.client.run("mqvpn-setup", "client", "home", "--from", f"{FOLDER}/home.conf")


def test_a_mistake_in_the_file_changes_nothing(site: Site, machine_unit: tuple[Machine, str]) -> None:
    machine, unit = machine_unit
    file = "/etc/mqvpn/server.conf" if unit == SERVER else "/etc/mqvpn/client-home.conf"
    good, pid = machine.path(file).read_text(), main_pid(machine, unit)
    machine.path(file).write_text(good + "\n[Interface]\nLogLevel = debug\n")
    machine.run("systemctl", "reload", unit)
    machine.path(file).write_text(good + "\n[Interface]\nLogLevel = loud\n")
    with pytest.raises(LabError, match="exit status"):
        machine.run("systemctl", "reload", unit)
    assert "[Interface] LogLevel: write one of" in machine.run("journalctl", "-ocat", "-n20", "-u", unit)
    machine.path(file).write_text(good)
    machine.run("systemctl", "reload", unit)
    assert main_pid(machine, unit) == pid
    site.echo()


def test_it_comes_back_after_sigkill(site: Site, machine_unit: tuple[Machine, str]) -> None:
    machine, unit = machine_unit
    pid = main_pid(machine, unit)
    machine.run("kill", "-KILL", pid)
    wait_for("systemd starts it again", lambda: main_pid(machine, unit) not in ("0", pid))
    site.echo()


def test_an_upgrade_restarts_what_runs(site: Site, packages: Path, tmp_path: Path) -> None:
    for machine, unit, name in ((site.server, SERVER, "mqvpn-server"), (site.client, CLIENT, "mqvpn-client")):
        pid, names = main_pid(machine, unit), ("mqvpn-common", name)
        address = inner_addresses(site.client)
        (tmp_path / name).mkdir()
        install(machine, bumped(packages, names, tmp_path / name), *names)
        assert machine.show(unit, "ActiveState")["ActiveState"] == "active"
        assert main_pid(machine, unit) not in ("0", pid)
        site.echo()
        assert inner_addresses(site.client) == address


def test_a_stop_leaves_the_network_as_it_was(site: Site, machine_unit: tuple[Machine, str]) -> None:
    machine, unit = machine_unit
    assert [line for line in site.changes(machine) if "routes added" in line]
    machine.run("systemctl", "stop", unit)
    of_files = ("files ", "contents ")
    assert [line for line in site.changes(machine) if not line.startswith(of_files)] == []
    machine.run("systemctl", "start", unit)


def test_removed_it_stops_and_keeps_its_configuration(site: Site, machine_unit: tuple[Machine, str]) -> None:
    machine, unit = machine_unit
    machine.wait_active(unit)
    configuration = machine.run("find", "/etc/mqvpn", "-type", "f")
    assert ".conf" in configuration
    apt(machine, "remove", "mqvpn-common")
    of_files = ("files ", "contents ")
    assert [line for line in site.changes(machine) if not line.startswith(of_files)] == []
    assert machine.run("find", "/etc/mqvpn", "-type", "f") == configuration
    assert "/usr/bin/mqvpn" not in machine.run("find", "/usr/bin", "-name", "mqvpn*")


def test_purged_nothing_is_left(site: Site, machine_unit: tuple[Machine, str]) -> None:
    machine, unit = machine_unit
    apt(machine, "purge", "mqvpn-common", unit.partition("@")[0])
    assert site.changes(machine) == []
    assert "mqvpn" not in machine.run("cat", "/etc/passwd", "/etc/group")
    assert machine.run("find", "/usr", "/etc", "/var/lib/systemd", "-name", "*mqvpn*") == ""
    assert machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "mqvpn*") == ""


def test_what_debian_tests(site: Site, packages: Path) -> None:
    """autopkgtest's scripts, on a machine from which we were purged."""
    install(site.server, packages, "mqvpn", "mqvpn-common", "mqvpn-server", "mqvpn-client")
    for script in ("configuration", "tunnel"):
        site.server.write(f"{FOLDER}/{script}", (ROOT / "debian/tests" / script).read_text(), 0o755)
        site.server.run("env", f"AUTOPKGTEST_TMP={FOLDER}", f"{FOLDER}/{script}", timeout=120)
