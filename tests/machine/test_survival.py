"""What outlives a death of either service, and what does not outlive its stop."""

from __future__ import annotations

import time

import pytest

from tests.lab.machine import Machine
from tests.lab.net import LabError, wait_for
from tests.lab.traffic import Transfer
from tests.machine.tunnel import CLIENT, INNER, SERVER, Pair
from tests.system.snapshot import difference, snapshot

pytestmark = [pytest.mark.machine, pytest.mark.pace]
STALL = {SERVER: "/run/mqvpn/server/stall", CLIENT: "/run/mqvpn/client-home/stall"}  # in a directory of its own
RECOVERY = 5.0  # seconds; two are promised for a machine that does nothing else


def main_pid(machine: Machine, unit: str) -> str:
    return machine.show(unit, "MainPID")["MainPID"]


def link(machine: Machine) -> str:
    """The number of the TUN interface: another one, made anew, has another."""
    interface = "mq-home" if "client" in machine.namespace.name else "mqvpn0"
    return machine.namespace.ip("-o", "link", "show", "dev", interface).split(":")[0]


def ports(machine: Machine) -> set[str]:
    """The local UDP ports that are open."""
    return {line.split()[3] for line in machine.run("ss", "-Hanu").splitlines() if "%up" in line or ":443" in line}


def test_ready_comes_with_the_tunnel(pair: Pair) -> None:
    pair.server.run("systemctl", "start", SERVER)
    pair.client.run("systemctl", "start", CLIENT)
    assert pair.answers()
    for machine, unit in ((pair.client, CLIENT), (pair.server, SERVER)):
        shown = machine.show(unit, "Type", "User", "StatusText", "NFileDescriptorStore")
        assert (shown["Type"], shown["User"]) == ("notify", "mqvpn")
        assert shown["StatusText"].isascii()
        assert int(shown["NFileDescriptorStore"]) >= 1


def test_a_stop_leaves_the_machines_as_they_were(pair: Pair) -> None:
    before = {machine: snapshot(machine.namespace.name) for machine in (pair.client, pair.server)}
    pair.connect()
    assert all(difference(before[machine], snapshot(machine.namespace.name)) for machine in before)
    pair.client.run("systemctl", "stop", CLIENT)
    pair.server.run("systemctl", "stop", SERVER)
    for machine, state in before.items():
        assert difference(state, snapshot(machine.namespace.name)) == []
    pair.server.wait_active(f"{SERVER}.socket", "inactive")
    assert ports(pair.server) == set()


@pytest.mark.parametrize("end", ["client", "server"])
def test_a_stop_cleans_up_after_a_daemon_that_cannot(pair: Pair, end: str) -> None:
    machine, unit = (pair.client, CLIENT) if end == "client" else (pair.server, SERVER)
    before = snapshot(machine.namespace.name)
    override(machine, unit, f"TimeoutStopSec=5\nWatchdogSec=2\nEnvironment=MQVPN_STALL={STALL[unit]}")
    pair.connect()
    stall_it(machine, unit)
    machine.run("systemctl", "stop", unit)
    assert machine.show(unit, "Result") == {"Result": "timeout"}
    assert difference(before, snapshot(machine.namespace.name)) == []


@pytest.mark.parametrize("end", ["client", "server"])
def test_a_stop_between_two_lives_leaves_nothing(pair: Pair, end: str) -> None:
    machine, unit = (pair.client, CLIENT) if end == "client" else (pair.server, SERVER)
    before = snapshot(machine.namespace.name)
    pair.connect()
    machine.run("sh", "-c", f"systemctl kill --kill-whom=main -sKILL {unit}; systemctl stop {unit}")
    wait_for("all is undone", lambda: difference(before, snapshot(machine.namespace.name)) == [])
    directory = machine.path("/run/mqvpn/client-home" if end == "client" else "/run/mqvpn/server")
    wait_for("its runtime directory is gone", lambda: not directory.exists())


def test_a_loop_that_stalls_is_killed_and_started_again(pair: Pair) -> None:
    override(pair.server, SERVER, f"WatchdogSec=2\nTimeoutAbortSec=1\nEnvironment=MQVPN_STALL={STALL[SERVER]}")
    pair.connect()
    device, pid = link(pair.server), main_pid(pair.server, SERVER)
    time.sleep(3)  # an idle loop that turns is left alone
    assert main_pid(pair.server, SERVER) == pid
    stall_it(pair.server, SERVER)
    wait_for("another server", lambda: main_pid(pair.server, SERVER) not in ("0", pid))
    pair.server.wait_active(SERVER)
    pair.wait_for_echo(RECOVERY)
    assert link(pair.server) == device
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in pair.server.journal("-u", SERVER, "-n30"))


def test_a_socket_that_is_not_the_configured_one(pair: Pair) -> None:
    directory = "/etc/systemd/system/mqvpn-server.socket.d"
    pair.server.write(f"{directory}/port.conf", "[Socket]\nListenDatagram=\nListenDatagram=[::]:8443\n")
    pair.server.run("systemctl", "daemon-reload")
    try:
        with pytest.raises(LabError, match=r"Job for mqvpn-server\.service failed"):
            pair.server.run("systemctl", "start", SERVER)
        pair.server.wait_active(SERVER, "failed")
        assert pair.server.show(SERVER, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": "78", "NRestarts": "0"}
        status = pair.server.show(SERVER, "StatusText")["StatusText"]
        assert "systemd's socket is UDP [::]:8443, [Interface] Listen is [::]:443" in status
    finally:
        pair.server.run("rm", "-r", directory)
        pair.server.run("systemctl", "daemon-reload")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_server_comes_back_under_its_clients(pair: Pair, how: str) -> None:
    """And a TCP stream of theirs goes on."""
    pair.connect()
    device, socket, pid = link(pair.server), ports(pair.server), main_pid(pair.server, SERVER)
    stream = Transfer(pair.client.namespace, pair.server.namespace, INNER, seconds=2 * RECOVERY).start()
    time.sleep(1)
    begin = time.monotonic()
    end_it(pair.server, SERVER, how)
    wait_for("another server", lambda: main_pid(pair.server, SERVER) not in ("0", pid))
    pair.server.wait_active(SERVER)
    pair.wait_for_echo(RECOVERY)
    print(f"server {how}: echo again after {time.monotonic() - begin:.2f} s")
    assert link(pair.server) == device
    assert ports(pair.server) == socket
    carried = [interval.bytes for interval in stream.result().intervals]
    print(f"server {how}: half seconds in which TCP carried nothing: {carried.count(0)}")
    assert all(carried[-4:-1])


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_client_comes_back_with_its_device_and_ports(pair: Pair, how: str) -> None:
    pair.connect()
    device, sockets, pid = link(pair.client), ports(pair.client), main_pid(pair.client, CLIENT)
    rules = pair.client.namespace.ip("rule")
    begin = time.monotonic()
    end_it(pair.client, CLIENT, how)
    wait_for("another client", lambda: main_pid(pair.client, CLIENT) not in ("0", pid))
    assert pair.client.namespace.ip("rule") == rules
    pair.client.wait_active(CLIENT)
    pair.wait_for_echo(RECOVERY)
    print(f"client {how}: echo again after {time.monotonic() - begin:.2f} s")
    assert link(pair.client) == device
    assert ports(pair.client) == sockets


def end_it(machine: Machine, unit: str, how: str) -> None:
    if how == "restart":
        machine.run("systemctl", "restart", unit)
    else:
        machine.run("systemctl", "kill", "--kill-whom=main", "-sKILL", unit)


def override(machine: Machine, unit: str, lines: str) -> None:
    """Change settings of a unit that is not running, or that are read later."""
    machine.write(f"/run/systemd/system/{unit}.service.d/test.conf", f"[Service]\n{lines}\n")
    machine.run("systemctl", "daemon-reload")


def stall_it(machine: Machine, unit: str) -> None:
    """Let the loop of the daemon stand still; see mqvpn/daemon/watchdog.py."""
    machine.write(STALL[unit], "")
    wait_for("the loop stands still", lambda: not machine.path(STALL[unit]).exists())
