"""The client's DNS on real Debian machines: with systemd-resolved and polkit, and without, by the shipped root part."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from tests.lab.machine import Machine
from tests.lab.nameserver import command
from tests.lab.net import ROOT, LabError, Net, program, wait_for

pytestmark = pytest.mark.machine

PACKAGE = "/usr/lib/python3/dist-packages/mqvpn"
UNITS = ("mqvpn-dns.socket", "mqvpn-dns@.service", "mqvpn-dns-restore.service")
COMMAND = "#!/usr/bin/python3\nimport sys\nfrom mqvpn.cli.dns import main\nsys.exit(main())\n"
SERVER, ANSWER = "10.9.9.1", "192.0.2.77"
BEFORE = "# the administrator's\nnameserver 192.0.2.1\n"
# What mqvpn-client does with its DNS, without a tunnel.
CLIENT = f"""
import asyncio, signal, sys
from ipaddress import ip_address
from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon.dns import Dns
from mqvpn.daemon.log import start_logging
from mqvpn.system.undo import Undo

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = ClientSettings(server_addr=HostPort("h", 1), dns=(ip_address("{SERVER}"),), domains=("corp.example",),
                              dns_over_tls="no" if "tls" in sys.argv else "", instance="home")
    async with Dns(settings, "mq0", lambda status: stop.set(), Undo(None)) as dns:
        dns.tunnel_up(lambda: print("ready", flush=True))
        await stop.wait()

start_logging("info", "home")
asyncio.run(main())
"""


@pytest.fixture
def client(net: Net, machine: Machine) -> Machine:
    """A machine with our DNS parts, the user mqvpn, and a link mq0 to a name server that knows one answer."""
    ignored = shutil.ignore_patterns("*.so", "*.c", "*.pyx", "__pycache__")
    shutil.copytree(ROOT / "mqvpn", machine.path(PACKAGE), ignore=ignored)
    machine.write("/usr/bin/mqvpn-dns", COMMAND, 0o755)
    for unit in UNITS:
        machine.write(f"/usr/lib/systemd/system/{unit}", (ROOT / "systemd" / unit).read_text())
    machine.write("/usr/share/polkit-1/rules.d/50-mqvpn.rules", (ROOT / "systemd/polkit.rules").read_text())
    machine.write("/opt/client.py", CLIENT)
    machine.run("useradd", "--system", "mqvpn")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "polkit")
    outside = net.namespace("outside")
    net.veth(machine.namespace, "mq0", outside, "eth0")
    for namespace, interface, address in ((machine.namespace, "mq0", "10.9.9.2"), (outside, "eth0", SERVER)):
        namespace.ip("addr", "add", f"{address}/24", "dev", interface)
        namespace.ip("link", "set", interface, "up")
    net.enter(program(outside, *command(SERVER, ANSWER), log=net.log("nameserver.log")))
    return machine


def start(machine: Machine, *argv: str) -> None:
    """Run the client in a sandbox like its unit's; the block begins when it is ready."""
    sandbox = ("User=mqvpn", "AmbientCapabilities=CAP_NET_ADMIN", "ProtectSystem=strict", "NoNewPrivileges=yes")
    options = [word for line in sandbox for word in ("-p", line)]
    before = log(machine).count("ready")
    machine.run("systemctl", "reset-failed", "client", check=False)
    machine.run("systemd-run", "-q", "--unit=client", *options, "python3", "/opt/client.py", *argv)
    wait_for("the client is ready or ended", lambda: log(machine).count("ready") > before or not active(machine), 15)


def active(machine: Machine) -> bool:
    return machine.run("systemctl", "is-active", "client", check=False).strip() == "active"


def log(machine: Machine) -> str:
    machine.run("journalctl", "--sync")
    return machine.run("journalctl", "-ocat", "-u", "client")


def link(machine: Machine) -> dict[str, str]:
    """What resolved knows about mq0."""
    words = {}
    for what in ("dns", "domain", "default-route", "dnsovertls"):
        words[what] = machine.run("resolvectl", what, "mq0").partition("):")[2].strip()
    return words


SET = {"dns": SERVER, "domain": "~. corp.example", "default-route": "yes", "dnsovertls": "no"}


@pytest.mark.pace
def test_resolved_keeps_our_dns_through_restarts(client: Machine) -> None:
    before = link(client)
    start(client, "tls")
    assert link(client) == SET, log(client)
    assert "DNS set by systemd-resolved" in log(client)
    assert ANSWER in client.run("resolvectl", "query", "--legend=no", "-4", "anything.example")
    assert ANSWER in client.run("getent", "ahostsv4", "intranet")
    for verb in (("restart",), ("kill", "-sKILL")):
        client.run("systemctl", *verb, "systemd-resolved")
        wait_for("a name after resolved's end", lambda: ANSWER in look_up(client), 15)
    # As after a crash that took its notes along: only we can set it again.
    client.run("systemctl", "stop", "systemd-resolved")
    client.run("rm", "-rf", "/run/systemd/resolve/netif")
    client.run("systemctl", "start", "systemd-resolved")
    began = time.monotonic()
    wait_for("our DNS is set again", lambda: link(client) == SET, 15)
    assert time.monotonic() - began < 3
    client.run("systemctl", "stop", "client")
    assert link(client) == before


def look_up(machine: Machine) -> str:
    return machine.run("resolvectl", "query", "--cache=no", "-4", "b.example", check=False)


def test_resolved_is_told_again_when_the_bus_was_away(client: Machine) -> None:
    start(client, "tls")
    client.run("systemctl", "kill", "-sKILL", "dbus")
    wait_for("it notices", lambda: "trying again" in log(client), 10)
    client.run("systemctl", "restart", "dbus", "systemd-resolved")
    client.run("resolvectl", "revert", "mq0")
    client.run("systemctl", "restart", "systemd-resolved")
    wait_for("our DNS is set again", lambda: link(client) == SET, 15)
    assert active(client)


def test_without_the_polkit_rule_the_start_fails_and_says_why(client: Machine) -> None:
    client.run("rm", "/usr/share/polkit-1/rules.d/50-mqvpn.rules")
    client.run("systemctl", "restart", "polkit")
    start(client)
    assert re.search(r"SetLinkDNS of systemd-resolved: .*authentication.*; install polkitd", log(client))


def without_resolved(machine: Machine) -> None:
    machine.run("systemctl", "mask", "--now", "systemd-resolved")
    machine.run("sed", "-i", "s/^hosts:.*/hosts: files dns/", "/etc/nsswitch.conf")
    machine.run("rm", "-f", "/etc/resolv.conf")
    machine.write("/etc/resolv.conf", BEFORE)


def resolv_conf(machine: Machine) -> str:
    return machine.run("cat", "/etc/resolv.conf")


def test_the_root_part_writes_the_file_for_a_client_that_may_not(client: Machine) -> None:
    without_resolved(client)
    start(client)
    assert "No such file or directory; systemctl enable --now mqvpn-dns.socket" in log(client)
    assert resolv_conf(client) == BEFORE
    client.run("systemctl", "enable", "-q", "--now", "mqvpn-dns.socket")
    start(client)
    assert "DNS set by /etc/resolv.conf" in log(client)
    assert f"nameserver {SERVER}\nsearch corp.example\n" in resolv_conf(client)
    assert ANSWER in client.run("getent", "ahostsv4", "intranet")
    client.run("systemctl", "stop", "client")
    assert resolv_conf(client) == BEFORE
    assert client.run("systemctl", "list-units", "--failed", "-q", "mqvpn*") == ""
    assert not client.path("/etc/.resolv.conf.mqvpn").exists()


def test_the_former_file_is_back_after_a_kill_and_after_a_power_failure(client: Machine) -> None:
    without_resolved(client)
    client.run("systemctl", "enable", "-q", "--now", "mqvpn-dns.socket")
    client.run("systemctl", "enable", "-q", "mqvpn-dns-restore.service")
    start(client)
    client.run("systemctl", "kill", "-sKILL", "client")
    assert SERVER in resolv_conf(client)
    start(client)
    client.run("systemctl", "stop", "client")
    assert resolv_conf(client) == BEFORE
    start(client)
    client.run("systemctl", "kill", "-sKILL", "client")
    client.reboot()
    assert resolv_conf(client) == BEFORE
    assert client.run("systemctl", "is-failed", "mqvpn-dns-restore.service", check=False).strip() == "inactive"


def test_nobody_else_may_ask_the_root_part(client: Machine) -> None:
    client.run("systemctl", "start", "mqvpn-dns.socket")
    ask = ("setpriv", "--clear-groups", "/usr/bin/mqvpn-dns", "restore", "home")
    assert client.run(*ask[:2], "--reuid=mqvpn", *ask[2:]) == ""
    with pytest.raises(LabError, match="Permission denied"):
        client.run(*ask[:2], "--reuid=nobody", *ask[2:])


def test_the_units_are_as_systemd_wants_them(client: Machine) -> None:
    units = [f"/usr/lib/systemd/system/{name}" for name in UNITS]
    assert client.run("systemd-analyze", "verify", "--man=no", *units) == ""
    services = [unit for unit in units if unit.endswith(".service")]
    rated = client.run("systemd-analyze", "security", "--offline=yes", "--no-pager", *services)
    rates = [float(rate) for rate in re.findall(r"exposure level for .*: ([\d.]+)", rated)]
    assert len(rates) == 2
    assert max(rates) <= 2.0, rates
