"""The kill switch under systemd: it outlives every death and restart of the client, and every stop lifts it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_kill_switch import chatter
from tests.lab.capture import Capture
from tests.lab.net import LabError, wait_for
from tests.machine.test_survival import STALL, override, stall_it
from tests.machine.tunnel import (
    CLIENT,
    CLIENT_CONF,
    CLIENT_SECTIONS,
    SERVER,
    SERVER_ADDRESS,
    Pair,
    configure,
)
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.machine
SHUT = dict(CLIENT_SECTIONS) | {"Interface": {"KillSwitch": "true"}}
TABLE = "mqvpn_block_home"


@pytest.fixture
def shut(pair: Pair, tmp_path: Path) -> Iterator[Pair]:
    configure(pair.client, CLIENT_CONF, SHUT, tmp_path)
    yield pair
    pair.client.run("systemctl", "stop", CLIENT)
    configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)


def blocked(pair: Pair) -> bool:
    return TABLE in pair.client.run("nft", "list", "tables")


def owned(pair: Pair) -> bool:
    return "flags owner,persist" in pair.client.run("nft", "list", "table", "inet", TABLE)


FLUSH = f"""
echo ready
until [ -e /run/seen-enough ]; do
    nft flush ruleset
    nft list tables inet | grep -q {TABLE} || echo gap
done
"""


def restarted(pair: Pair) -> None:
    before = pair.client.show(CLIENT, "MainPID")["MainPID"]
    pair.client.run("systemctl", "kill", "-s", "KILL", CLIENT)
    wait_for("another process", lambda: pair.client.show(CLIENT, "MainPID")["MainPID"] not in ("0", before))
    pair.client.wait_active(CLIENT)


def test_it_never_is_without_an_owner(shut: Pair) -> None:
    """Somebody flushes all the time, also between two lives of the client: the table, or its stand-in, is there."""
    shut.connect()
    argv = ("timeout", "60", "sh", "-c", FLUSH)
    flusher = shut.client.popen(*argv, stdout=subprocess.PIPE, text=True)
    assert flusher.stdout is not None
    assert flusher.stdout.readline() == "ready\n"
    restarted(shut)
    shut.client.run("systemctl", "restart", CLIENT)
    shut.client.write("/run/seen-enough", "")
    assert flusher.communicate()[0] == ""
    assert owned(shut)
    assert shut.client.show(CLIENT, "NFileDescriptorStore") == {"NFileDescriptorStore": "4"}


@pytest.mark.parametrize("state", ["stands still", "is dead"])
def test_a_stop_lifts_it_though_systemd_keeps_its_owner(shut: Pair, state: str) -> None:
    """Also of a client that must be killed, and of one that waits for its next life."""
    stalls = f"WatchdogSec=2\nEnvironment=MQVPN_STALL={STALL[CLIENT]}"
    override(shut.client, CLIENT, f"RestartSec=60\nTimeoutStopSec=2\n{stalls}")
    shut.connect()
    if state == "is dead":
        shut.client.run("systemctl", "kill", "-s", "KILL", CLIENT)
        wait_for("it is dead", lambda: shut.client.show(CLIENT, "SubState") == {"SubState": "auto-restart"})
        with pytest.raises(LabError, match="Operation not permitted"):
            shut.client.run("nft", "delete", "table", "inet", TABLE)
    else:
        stall_it(shut.client, CLIENT)
    shut.client.run("systemctl", "stop", CLIENT)
    wait_for("the block is lifted", lambda: not blocked(shut))
    assert not [entry for entry in shut.client.journal("-b", "-u", CLIENT) if "not permitted" in entry["MESSAGE"]]


@pytest.mark.parametrize("options", [(), ("--force",)], ids=["in order", "forced"])
def test_it_stands_until_the_machine_is_down(shut: Pair, options: tuple[str, ...]) -> None:
    """On `reboot` the network stands longer than the client. Here it stands for ever, so the block does, too. Forced,
    no unit is stopped: the next PID 1 ends all processes, and there is no systemd that could be asked."""
    shut.connect()
    namespace = shut.client.namespace
    with Capture(namespace, ["up0", "up1"]) as capture, chatter(namespace):
        shut.client.reboot(*options)
    assert capture.leaks([(SERVER_ADDRESS, 443)]) == []
    assert blocked(shut)
    assert shut.client.show(CLIENT, "ActiveState") == {"ActiveState": "inactive"}
    assert TABLE in shut.client.run("mqvpnctl", "unblock", "home")


def test_nothing_leaks_through_death_and_restart(shut: Pair) -> None:
    """While the client lives the block is its own: not to be flushed, nor lifted by others; each successor takes it."""
    before = snapshot(shut.client.namespace.name)
    shut.connect()
    namespace = shut.client.namespace
    with Capture(namespace, ["up0", "up1"]) as capture, chatter(namespace):
        shut.client.run("nft", "flush", "ruleset")
        assert owned(shut)
        with pytest.raises(LabError, match=r"Operation not permitted; .*mqvpnctl down NAME"):
            shut.client.run("mqvpnctl", "unblock", "home")
        shut.client.run("systemctl", "kill", "-s", "KILL", CLIENT)
        shut.client.wait_active(CLIENT)
        shut.wait_for_echo()
        assert owned(shut)
        shut.client.run("systemctl", "restart", CLIENT)
        shut.wait_for_echo()
        shut.client.run("nft", "flush", "ruleset")
        assert owned(shut)
    assert capture.leaks([(SERVER_ADDRESS, 443)]) == []
    shut.client.run("systemctl", "stop", CLIENT)
    wait_for("the block is lifted", lambda: not blocked(shut))
    assert difference(before, snapshot(namespace.name)) == []


@pytest.mark.parametrize("way", [("systemctl", "stop", CLIENT), ("mqvpnctl", "unblock", "home")])
def test_nobody_is_locked_out(shut: Pair, tmp_path: Path, way: tuple[str, ...]) -> None:
    """Refused for good, the client has failed and its block stands; one command of the user's lifts it."""
    configure(shut.client, CLIENT_CONF, SHUT | {"Auth": {"Key": "not-the-right-key"}}, tmp_path)
    shut.server.run("systemctl", "start", SERVER)
    with pytest.raises(LabError):
        shut.client.run("systemctl", "start", CLIENT)
    assert shut.client.show(CLIENT, "ActiveState", "ExecMainStatus") == {
        "ActiveState": "failed",
        "ExecMainStatus": "77",
    }
    assert blocked(shut)
    shut.client.run(*way)
    wait_for("the block is lifted", lambda: not blocked(shut))  # by a unit of its own, after the client's


def test_a_broken_configuration_locks_nobody_out_and_leaves_nothing(shut: Pair, tmp_path: Path) -> None:
    """It is broken while the client runs, and a crash makes systemd read it: status 78, all undone but the block."""
    before = snapshot(shut.client.namespace.name)

    def left() -> list[str]:
        return difference(before, snapshot(shut.client.namespace.name))

    shut.connect()
    good = shut.client.path(CLIENT_CONF).read_text()
    shut.client.write(CLIENT_CONF, good + "[Interface\n", 0o640)
    try:
        shut.client.run("systemctl", "kill", "-s", "KILL", CLIENT)
        failed = {"ActiveState": "failed", "ExecMainStatus": "78"}
        wait_for("it has failed", lambda: shut.client.show(CLIENT, "ActiveState", "ExecMainStatus") == failed)
        wait_for("all but the block is undone", lambda: all("nftables" in line for line in left()))
        assert blocked(shut)
        assert not owned(shut)
        assert TABLE in shut.client.run("mqvpnctl", "unblock", "home")
        assert left() == []
    finally:
        shut.client.write(CLIENT_CONF, good, 0o640)
