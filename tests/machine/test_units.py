"""The shipped units and what belongs to them: no warnings, a small attack surface, and who may do what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.machine import Machine
from tests.lab.net import LabError, wait_for
from tests.machine.test_survival import override
from tests.machine.tunnel import CLIENT, CLIENT_CONF, CLIENT_SECTIONS, KEY, SERVER, SERVER_CONF, Pair, configure

pytestmark = pytest.mark.machine
SERVICES = ("mqvpn-server.service", "mqvpn-client@.service", "mqvpn-lockdown.service")
UNITS = (*SERVICES, "mqvpn-server.socket", "mqvpn-client@.socket", "mqvpn-client.target")
DENIED = re.compile("interactive authentication required|Access denied", re.IGNORECASE)
EXPOSURE = 20  # tenths


def test_systemd_has_nothing_to_say_about_the_units(pair: Pair) -> None:
    paths = [f"/usr/lib/systemd/system/{name}" for name in UNITS]
    argv = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths)
    assert pair.client.run("sh", "-c", f"{' '.join(argv)} 2>&1") == ""


@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_is_small(pair: Pair, name: str) -> None:
    path = f"/usr/lib/systemd/system/{name}"
    pair.client.run("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", path)


def test_a_daemon_has_one_capability(pair: Pair) -> None:
    pair.connect()
    for machine, unit in ((pair.client, CLIENT), (pair.server, SERVER)):
        status = machine.path(f"/proc/{machine.show(unit, 'MainPID')['MainPID']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {1 << 12}
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"


def as_user(machine: Machine, name: str, *argv: str) -> str:
    return machine.run("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *argv)


def test_members_of_mqvpn_admin_start_and_stop_tunnels_and_nothing_else(pair: Pair) -> None:
    pair.server.run("systemctl", "start", SERVER)
    for name, groups in (("ada", "mqvpn-admin"), ("bob", "nogroup")):
        pair.client.run("sh", "-c", f"id {name} 2>/dev/null || useradd -G {groups} {name}")
    as_user(pair.client, "ada", "systemctl", "--no-ask-password", "start", CLIENT)
    assert pair.answers()
    as_user(pair.client, "ada", "mqvpnctl", "reload", "home")
    with pytest.raises(LabError, match=DENIED):
        as_user(pair.client, "bob", "systemctl", "--no-ask-password", "stop", CLIENT)
    with pytest.raises(LabError, match="only root and members of the group mqvpn-admin"):
        as_user(pair.client, "bob", "mqvpnctl", "reload", "home")
    with pytest.raises(LabError, match=DENIED):
        as_user(pair.client, "ada", "systemctl", "--no-ask-password", "stop", "systemd-journald")
    status = ("systemctl", "status", "--no-pager", CLIENT)
    wait_for("a status for everybody", lambda: "Connected to" in as_user(pair.client, "bob", *status))
    as_user(pair.client, "ada", "systemctl", "--no-ask-password", "stop", CLIENT)


def test_networkd_leaves_our_device_alone(pair: Pair) -> None:
    pair.connect()
    pair.client.run("systemctl", "start", "systemd-networkd")
    try:
        pair.client.run("networkctl", "list")
        rows = [line.split() for line in pair.client.run("networkctl", "list", "--no-legend", "mq-home").splitlines()]
        assert [row[-1] for row in rows] == ["unmanaged"]
    finally:
        pair.client.run("systemctl", "stop", "systemd-networkd.service", "systemd-networkd.socket")


def test_a_key_that_everybody_can_read_is_refused(pair: Pair) -> None:
    pair.server.run("chmod", "o+r", SERVER_CONF)
    try:
        with pytest.raises(LabError, match="failed"):
            pair.server.run("systemctl", "start", SERVER)
        assert pair.server.show(SERVER, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": "78", "NRestarts": "0"}
        assert f"run: chmod o-rwx {SERVER_CONF}" in pair.server.run("journalctl", "-n20", "-ocat", "-u", SERVER)
    finally:
        pair.server.run("chmod", "o-r", SERVER_CONF)


@pytest.mark.parametrize("encrypted", [False, True])
def test_keys_come_from_credentials(pair: Pair, tmp_path: Path, encrypted: bool) -> None:
    source = "/etc/mqvpn/psk"
    pair.client.write(source, KEY, 0o600)
    directive = "LoadCredential"
    if encrypted:
        pair.client.run("systemd-creds", "encrypt", "--with-key=host", "--name=psk", source, f"{source}.cred")
        pair.client.run("rm", source)
        source, directive = f"{source}.cred", "LoadCredentialEncrypted"
    override(pair.client, CLIENT, f"{directive}=psk:{source}")
    configure(pair.client, CLIENT_CONF, dict(CLIENT_SECTIONS) | {"Auth": {"Key": "credential:psk"}}, tmp_path)
    try:
        pair.connect()
    finally:
        configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)


def test_a_start_need_not_wait_for_the_server(pair: Pair, tmp_path: Path) -> None:
    sections = dict(CLIENT_SECTIONS) | {"Interface": {"StartWait": "started"}}
    configure(pair.client, CLIENT_CONF, sections, tmp_path)
    try:
        pair.client.run("systemctl", "start", CLIENT)  # the server is not running
        assert pair.client.show(CLIENT, "ActiveState") == {"ActiveState": "active"}
        pair.server.run("systemctl", "start", SERVER)
        pair.wait_for_echo(70)
    finally:
        configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)


def test_all_clients_stop_with_the_target(pair: Pair) -> None:
    pair.server.run("systemctl", "start", SERVER)
    pair.client.run("systemctl", "enable", "-q", CLIENT)
    try:
        pair.client.run("systemctl", "start", "mqvpn-client.target")
        pair.client.wait_active(CLIENT)
        pair.client.run("systemctl", "stop", "mqvpn-client.target")
        pair.client.wait_active(CLIENT, "inactive")
    finally:
        pair.client.run("systemctl", "disable", "-q", CLIENT)
