"""mqvpn-lockdown: nothing leaves from boot on, and no user is locked out by it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_kill_switch import chatter
from tests.lab.capture import Capture
from tests.lab.machine import Machine
from tests.lab.net import LabError, wait_for
from tests.machine.test_kill_switch import SHUT
from tests.machine.tunnel import CLIENT, CLIENT_CONF, CLIENT_SECTIONS, INNER, SERVER, SERVER_ADDRESS, Pair, configure
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.machine
LOCKDOWN, UPLINKS = "mqvpn-lockdown", ("up0", "up1")
TABLES = {"lockdown": "mqvpn_block_lockdown", "home": "mqvpn_block_home"}
# As on a real machine: the network comes with networkd, which asks for leases and routers, and resolved has name
# servers of its own outside.
NETWORK = """[Match]
Name=up{number}
[Network]
Address=10.1.{number}.2/24
Address=2001:db8:1:{number}::2/64
Gateway=10.1.{number}.1
Gateway=2001:db8:1:{number}::1
DHCP=ipv4
LLMNR=yes
MulticastDNS=yes
"""
RESOLVED = "[Resolve]\nDNS=203.0.113.9 2001:db8:9::9\nFallbackDNS=203.0.113.8\nCache=no\n"
LOOK_UP = "while :; do resolvectl query -t A $RANDOM.example; resolvectl query printer$RANDOM; done >/dev/null 2>&1"
ENOUGH = "/run/seen-enough"
WATCH = f"until [ -e {ENOUGH} ]; do resolvectl dns mq-home 2>&1 | grep -qF ' {INNER}' || echo gap; echo seen; done"


def blocks(machine: Machine) -> set[str]:
    tables = machine.run("nft", "list", "tables")
    return {name for name, table in TABLES.items() if table in tables.split()}


@contextlib.contextmanager
def lookups(machine: Machine) -> Iterator[None]:
    """Names are looked up all the time."""
    process = machine.popen("timeout", "60", "bash", "-c", LOOK_UP)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def dns_seen_through_a_restart(pair: Pair) -> list[str]:
    """What a look at our link's DNS again and again sees while the client is started anew: "gap", where it is not set.
    """
    process = pair.client.popen("timeout", "60", "bash", "-c", WATCH, stdout=subprocess.PIPE, text=True)
    pair.client.run("systemctl", "restart", CLIENT)
    pair.wait_for_echo()
    pair.client.write(ENOUGH, "")
    seen: str = process.communicate()[0]
    assert len(seen.split()) > 3
    return seen.split()


def test_every_way_lifts_it(pair: Pair, tmp_path: Path) -> None:
    """Also when the client that was to take over never can."""
    client = pair.client
    configure(client, CLIENT_CONF, SHUT, tmp_path)
    before = snapshot(client.namespace.name)
    assert client.show(LOCKDOWN, "UnitFileState") == {"UnitFileState": "disabled"}
    for way in (("mqvpnctl", "unblock"), ("mqvpnctl", "unblock", "home"), ("systemctl", "stop", LOCKDOWN)):
        client.run("systemctl", "start", LOCKDOWN)
        assert blocks(client) == {"lockdown"}
        client.run(*way)
        assert difference(before, snapshot(client.namespace.name)) == []
        client.run("systemctl", "stop", LOCKDOWN)
    client.path(CLIENT_CONF).write_text("[Interface\n")
    client.run("systemctl", "start", LOCKDOWN)
    with pytest.raises(LabError):
        client.run("systemctl", "start", CLIENT)
    assert blocks(client) == {"lockdown"}
    client.run("systemctl", "stop", CLIENT)
    wait_for("all is as before", lambda: difference(before, snapshot(client.namespace.name)) == [], timeout=5)
    client.run("systemctl", "stop", LOCKDOWN)


NO_SANDBOX = f"/run/systemd/system/{LOCKDOWN}.service.d/broken.conf"


def no_sandbox(client: Machine) -> Callable[[], object]:
    client.write(NO_SANDBOX, "[Service]\nSystemCallFilter=~execve\n")
    return lambda: client.run("rm", NO_SANDBOX)


def no_python(client: Machine) -> Callable[[], object]:
    client.run("mount", "--bind", "/bin/false", "/usr/bin/mqvpnctl")
    return lambda: client.run("umount", "/usr/bin/mqvpnctl")


@pytest.mark.parametrize("broken", [no_python, no_sandbox])
def test_all_is_blocked_if_it_cannot_be_told_what_to_block(
    pair: Pair, tmp_path: Path, broken: Callable[[Machine], Callable[[], object]]
) -> None:
    """Even though no client asks for it. It says so, and the same command lifts it, whatever is broken."""
    client = pair.client
    configure(client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)
    mend = broken(client)
    client.run("systemctl", "daemon-reload")
    try:
        client.run("systemctl", "start", LOCKDOWN)
        assert blocks(client) == {"lockdown"}
        assert "1 received" not in client.run("ping", "-c1", "-W1", "10.1.0.1", check=False)
        started = client.show(LOCKDOWN, "InvocationID")["InvocationID"]
        said = client.run("journalctl", "-ocat", "-pcrit", f"_SYSTEMD_INVOCATION_ID={started}")
        assert "all traffic is blocked: systemctl stop mqvpn-lockdown lifts it" in said
        client.run("systemctl", "restart", LOCKDOWN)
        assert blocks(client) == {"lockdown"}
        client.run("systemctl", "stop", LOCKDOWN)
        assert blocks(client) == set()
    finally:
        mend()
        client.run("systemctl", "daemon-reload")
    client.run("systemctl", "start", LOCKDOWN)
    assert blocks(client) == set()  # no client has KillSwitch
    client.run("systemctl", "stop", LOCKDOWN)


def test_nothing_leaks_from_boot_to_stop(pair: Pair, tmp_path: Path) -> None:
    """The machine boots, the tunnel comes up, resolved is restarted, the client is killed: own traffic all the time."""
    client, namespace = pair.client, pair.client.namespace
    sections = SHUT | {"Interface": {"KillSwitch": "true", "DNS": INNER}}
    configure(client, CLIENT_CONF, sections, tmp_path)
    client.write("/etc/systemd/resolved.conf.d/test.conf", RESOLVED)
    namespace.unchanged.but("up[01]")  # is networkd's
    for number in range(len(UPLINKS)):
        client.write(f"/etc/systemd/network/up{number}.network", NETWORK.format(number=number))
        namespace.ip("addr", "flush", "dev", f"up{number}")
        namespace.ip("link", "set", f"up{number}", "down")
    client.run("systemctl", "enable", "-q", LOCKDOWN, CLIENT, "mqvpn-client.target", "systemd-networkd.service")
    pair.server.run("systemctl", "start", SERVER)
    with Capture(namespace, UPLINKS) as capture, chatter(namespace):
        client.reboot()
        with lookups(client):
            client.wait_active(CLIENT, timeout=30)
            assert blocks(client) == {"home"}
            pair.wait_for_echo()
            client.run("systemctl", "restart", "systemd-resolved")
            wait_for("our DNS is set again", lambda: INNER in client.run("resolvectl", "dns", "mq-home"), timeout=10)
            client.run("systemctl", "kill", "-s", "KILL", CLIENT)
            client.wait_active(CLIENT)
            pair.wait_for_echo()
            assert set(dns_seen_through_a_restart(pair)) == {"seen"}
            assert blocks(client) == {"home"}
    assert {packet.interface for packet in capture.packets} == set(UPLINKS)
    assert capture.leaks([(SERVER_ADDRESS, 443)]) == []
    client.run("systemctl", "stop", CLIENT)
    wait_for("the block is lifted", lambda: not blocks(client))
