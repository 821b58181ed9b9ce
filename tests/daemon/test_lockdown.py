"""What is blocked from boot on, by the clients' files alone; that the first client takes over; and who lifts it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mqvpn.config.load import load
from mqvpn.daemon.killswitch import KillSwitch, block_of
from mqvpn.daemon.lockdown import Lockdown, lock_down, unblock
from mqvpn.system import block
from mqvpn.system.errors import OperationFailed
from mqvpn.system.undo import Undo
from tests.e2e.test_kill_switch import chatter
from tests.lab.capture import Capture
from tests.lab.net import ROOT, Namespace, Net
from tests.system.inside import inside

pytestmark = pytest.mark.netns
FILE = "[Server]\nAddress = vpn.example:443\n[Auth]\nKey = credential:psk\n[Interface]\n"
SHUT = FILE + "KillSwitch = true\n"
STATIC = ROOT / "systemd/lockdown.nft"
LOCKDOWN, HOME = "mqvpn_block_lockdown", "mqvpn_block_home"


@pytest.fixture
def host(net: Net) -> Namespace:
    """A machine with an uplink, both families, and somebody there."""
    host, world = net.namespace("host"), net.namespace("world")
    net.veth(host, "eth0", world, "eth0")
    for machine, number in ((host, 2), (world, 1)):
        machine.ip("link", "set", "eth0", "up")
        machine.ip("addr", "add", f"10.1.0.{number}/24", "dev", "eth0")
        machine.ip("addr", "add", f"2001:db8:1:0::{number}/64", "dev", "eth0", "nodad")
    host.ip("route", "add", "default", "via", "10.1.0.1")
    host.ip("-6", "route", "add", "default", "via", "2001:db8:1:0::1")
    return host


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"client-{name}.conf").write_text(text)
        (folder / f"client-{name}.conf").chmod(0o600)
    return folder


def test_it_lets_pass_what_every_client_with_the_kill_switch_would(host: Namespace, tmp_path: Path) -> None:
    write(tmp_path, open=FILE, home=SHUT + "Exclude = 192.0.2.0/24, 2001:db8:7::/48\nFwMark = 7\n")
    write(tmp_path, work=SHUT + "Exclude = 192.0.2.64/26, 198.51.100.0/24\nAllowLan = true\n")
    assert inside(host, lock_down, None, tmp_path) == Lockdown(("home", "work"))
    rules = host.run("nft", "list", "table", "inet", LOCKDOWN)
    assert "ip daddr 192.0.2.64/26 accept" in rules
    assert not [more for more in ("2001:db8:7::", "198.51.100.0", "192.168.0.0", "mq-open") if more in rules]
    assert "meta mark { 0x00000007, 0x00006d71 } accept" in rules
    with Capture(host, ["eth0"]) as capture, chatter(host):
        host.run("ping", "-c1", "-W1", "203.0.113.9", check=False)
    assert capture.leaks() == []


def test_a_file_that_cannot_be_read_blocks_and_one_without_it_does_not(host: Namespace, tmp_path: Path) -> None:
    write(tmp_path, open=FILE)
    assert inside(host, lock_down, None, tmp_path) == Lockdown(())
    assert inside(host, block.all_tables) == []
    done = inside(host, lock_down, None, write(tmp_path, broken=SHUT + "[Interface\n"))
    assert done.clients == ("broken",)
    assert "client-broken.conf" in done.problems[0]
    assert inside(host, block.all_tables) == [LOCKDOWN]


def test_a_folder_that_cannot_be_read_is_an_error_and_one_without_such_a_client_lifts_it(
    host: Namespace, tmp_path: Path
) -> None:
    """So that the unit lets stand, or does not, what it has put up before."""
    write(tmp_path, home=SHUT)
    host.run("nft", "-f", str(STATIC))
    tmp_path.chmod(0o700)

    def as_nobody() -> str:
        os.setuid(65534)
        with pytest.raises(OperationFailed) as refused:
            lock_down(None, tmp_path)
        return str(refused.value)

    assert "Permission denied" in inside(host, as_nobody)
    assert inside(host, block.all_tables) == [LOCKDOWN]
    write(tmp_path, home=FILE)
    assert inside(host, lock_down, None, tmp_path) == Lockdown(())
    assert inside(host, block.all_tables) == []


def test_what_the_unit_puts_up_before_lets_pass_what_keeps_a_link_up(host: Namespace, tmp_path: Path) -> None:
    text = STATIC.read_text()
    assert block.LINK in text
    for _ in range(2):
        host.run("nft", "-f", str(STATIC))
    with Capture(host, ["eth0"]) as capture, chatter(host):
        host.run("ping", "-c1", "-W1", "203.0.113.9", check=False)
    assert capture.leaks() == []
    write(tmp_path, home=SHUT)
    assert inside(host, lock_down, None, tmp_path) == Lockdown(("home",))
    assert "everything" not in host.run("nft", "list", "table", "inet", LOCKDOWN)


def test_the_first_client_takes_over_without_an_open_instant(host: Namespace, tmp_path: Path) -> None:
    write(tmp_path, home=SHUT)
    settings = load(tmp_path / "client-home.conf", {"auth_key": "k"}, "client")

    async def engage() -> list[str]:
        switch = KillSwitch(settings, Undo(None))
        switch.engage()
        tables = block.all_tables()
        lock_down(None, tmp_path)  # as `systemctl restart` would, while the client runs
        assert block.all_tables() == tables
        switch.close(lift=False)
        return tables

    inside(host, lock_down, None, tmp_path)
    with Capture(host, ["eth0"]) as capture, chatter(host):
        for _ in range(10):
            assert inside(host, lambda: asyncio.run(engage())) == [HOME]
            inside(host, lambda: block.lock_down([block_of(settings)]))
            inside(host, block.lift, "home")
    assert capture.leaks() == []


@pytest.mark.parametrize(("name", "left"), [("home", []), ("lockdown", []), (None, []), ("open", [LOCKDOWN])])
def test_it_is_lifted_by_the_user_and_not_for_another_client(
    host: Namespace, tmp_path: Path, name: str | None, left: list[str]
) -> None:
    write(tmp_path, home=SHUT, open=FILE)
    inside(host, lock_down, None, tmp_path)
    lifted = inside(host, unblock, name, tmp_path)
    assert lifted == ([] if left else [LOCKDOWN])
    assert inside(host, block.all_tables) == left
