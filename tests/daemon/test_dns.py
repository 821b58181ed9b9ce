"""The client's DNS: who is chosen, when it is ready, what a failure does; what is left of it afterwards."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort
from mqvpn.daemon import dns as module
from mqvpn.daemon import dnshelper, exit
from mqvpn.daemon.dns import OVERWRITTEN, Dns, wanted
from mqvpn.system.dns import LinkDns
from mqvpn.system.dnsrequest import MAX_LINE, decode
from mqvpn.system.errors import OperationFailed
from mqvpn.system.undo import FILE, Undo
from tests.fakes.bus import PrivateBus
from tests.fakes.resolved import FakeResolved
from tests.lab.mounts import mount, own, private_mounts

SERVER = ip_address("9.9.9.9")
RESOLV_CONF = Path("/etc/resolv.conf")
BEFORE = "nameserver 192.0.2.1\n"
Body = Callable[[], Awaitable[None]]


def settings(**changes: Any) -> ClientSettings:
    return ClientSettings(**{"server_addr": HostPort("vpn.example", 443), "dns": (SERVER,)} | changes)


def test_what_the_settings_want() -> None:
    assert wanted(settings()) == LinkDns((SERVER,))
    assert wanted(settings(dns=())) is None
    assert wanted(settings(dns_mode="none")) is None
    full = settings(domains=("corp.example", "~lab"), dns_over_tls="yes")
    assert wanted(full) == LinkDns((SERVER,), ("corp.example", "~lab"), "yes")


class Run:
    """A Dns, how often it was ready, and the exit status it asked for."""

    def __init__(self, undo: Undo | None = None, *, succeeded: bool = False, **changes: Any) -> None:
        self.ready = 0
        self.stopped: list[int] = []
        self.dns = Dns(settings(**changes), "lo", self.stopped.append, undo or Undo(None), lambda: succeeded)

    def up(self) -> None:
        self.dns.tunnel_up(self._ready)

    def _ready(self) -> None:
        self.ready += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)


def on_a_machine(tmp_path: Path, body: Body, *, resolved: bool = False) -> None:
    """Run it in a process with an /etc, a /run and a state directory of its own; on that machine resolved is asked
    if so told, by a bus of its own that is there in any case."""

    async def story() -> None:
        with PrivateBus(tmp_path) as bus:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
            fake = FakeResolved(bus.address)
            if resolved:
                await fake.start()
            Machine.resolved = fake
            await body()
            await fake.stop()

    def inside() -> None:
        own(tmp_path, "/etc", "/var/lib", "/run")
        Path("/run/mqvpn").mkdir(exist_ok=True)
        Path("/etc/nsswitch.conf").write_text("hosts: files dns\n")
        RESOLV_CONF.unlink(missing_ok=True)
        RESOLV_CONF.write_text("nameserver 127.0.0.53\n" if resolved else BEFORE)
        asyncio.run(story())

    private_mounts(inside)


class Machine:
    """What the stories below meet."""

    resolved: FakeResolved


needs_machine = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="not installed: dbus-daemon"),
]


def story(*, resolved: bool = False) -> Callable[[Body], Any]:
    """A test whose body runs on such a machine."""

    def decorate(body: Body) -> Any:
        def test(tmp_path: Path) -> None:
            on_a_machine(tmp_path, body, resolved=resolved)

        test.__doc__ = body.__doc__
        for mark in needs_machine:
            test = mark(test)
        return test

    return decorate


@story(resolved=True)
async def test_resolved_is_told_where_it_is_asked() -> None:
    run = Run()
    async with run.dns:
        assert run.dns.status() == {"by": "systemd-resolved", "in_effect": False, "problem": None}
        assert Machine.resolved.links == {}
        run.up()
        assert run.ready == 0
        await run.until(lambda: run.ready == 1)
        assert Machine.resolved.link("lo").servers == ["9.9.9.9"]
        assert Machine.resolved.link("lo").domains == ["~."]
        assert run.dns.status() == {"by": "systemd-resolved", "in_effect": True, "problem": None}
        run.up()
        assert run.ready == 2
        await Machine.resolved.stop()
        await run.until(lambda: run.dns.describe() == "; DNS: systemd-resolved is not running")
        await Machine.resolved.start()
        await run.until(lambda: run.dns.describe() == "")
    assert Machine.resolved.links == {}
    assert RESOLV_CONF.read_text() == "nameserver 127.0.0.53\n"
    assert run.stopped == []


@story(resolved=True)
async def test_a_refusal_of_resolved_stops_the_client() -> None:
    Machine.resolved.denies = "org.freedesktop.DBus.Error.AccessDenied"
    run = Run()
    async with run.dns:
        run.up()
        await run.until(lambda: run.stopped == [exit.FAILED])
        run.up()
        assert run.ready == 0


@story(resolved=True)
async def test_a_journal_that_cannot_be_written_stops_it_before_it_is_told() -> None:
    run = Run(Undo(Path("/proc/none")))
    async with run.dns:
        run.up()
        await run.until(lambda: run.stopped == [exit.UNDO])
        assert Machine.resolved.links == {}


async def without_descriptors() -> None:
    """It waits for one, however it is set, and stops nothing."""
    module.AGAIN = 0.05
    run, before = Run(), resource.getrlimit(resource.RLIMIT_NOFILE)
    async with run.dns:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        run.up()
        await asyncio.sleep(0.3)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (run.ready, run.stopped) == (0, [])
        await run.until(lambda: run.ready == 1 or bool(run.stopped))
        assert run.stopped == []


test_resolved_waits_for_a_descriptor = story(resolved=True)(without_descriptors)
test_the_file_waits_for_a_descriptor = story()(without_descriptors)


@story(resolved=True)
async def test_what_is_chosen_by_name() -> None:
    run = Run(dns_mode="file")
    async with run.dns:
        run.up()
        await run.until(lambda: run.ready == 1)
        assert "nameserver 9.9.9.9" in RESOLV_CONF.read_text()
        assert Machine.resolved.links == {}
    assert RESOLV_CONF.read_text() == "nameserver 127.0.0.53\n"
    run = Run(dns_mode="none")
    async with run.dns:
        run.up()
        assert (run.ready, run.dns.status()) == (1, None)


@story()
async def test_the_file_is_written_where_resolved_is_not_asked() -> None:
    module.LOOK_INTERVAL = 0.02
    run = Run()
    async with run.dns:
        assert RESOLV_CONF.read_text() == BEFORE
        run.up()
        await run.until(lambda: run.ready == 1)
        assert "nameserver 9.9.9.9" in RESOLV_CONF.read_text()
        assert run.dns.status() == {"by": "/etc/resolv.conf", "in_effect": True, "problem": None}
        run.up()
        assert run.ready == 2
        ours = RESOLV_CONF.read_text()
        RESOLV_CONF.write_text(BEFORE)
        await run.until(lambda: run.dns.describe() == f"; DNS: {OVERWRITTEN}")
        RESOLV_CONF.write_text(ours)
        await run.until(lambda: run.dns.describe() == "")
    assert RESOLV_CONF.read_text() == BEFORE
    assert list(dnshelper.STATE.iterdir()) == [dnshelper.STATE / "lock"]


@story()
async def test_what_a_killed_predecessor_left_is_taken_back_at_once() -> None:
    """Before the server's name is looked up: the tunnel's name servers could not be asked for it."""
    for changes in ({}, {"dns": ()}, {"dns_mode": "none"}):
        killed = Run()
        await killed.dns.__aenter__()
        killed.up()
        await killed.until(lambda killed=killed: killed.ready == 1)
        run = Run(**changes)
        async with run.dns:
            assert RESOLV_CONF.read_text() == BEFORE


async def live(journal: Path, *, succeeded: bool = False, **changes: Any) -> list[str]:
    """A client that was up from its start to its end, and the name servers to ask for its server before it was up."""
    run = Run(Undo(journal), succeeded=succeeded, **changes)
    async with run.dns:
        others = run.dns.others()
        if run.dns.status() is not None:
            run.up()
            await run.until(lambda: run.ready == 1)
    return others


@story()
async def test_a_successor_takes_the_file_over_without_a_gap() -> None:
    journal = Path("/run/mqvpn")
    assert await live(journal, succeeded=True) == []
    ours = RESOLV_CONF.stat().st_ino, RESOLV_CONF.read_text()
    assert "nameserver 9.9.9.9" in ours[1]
    run = Run(Undo(journal), succeeded=True)
    async with run.dns:  # ends before its tunnel is up
        assert run.dns.others() == ["192.0.2.1"]
    assert (RESOLV_CONF.stat().st_ino, RESOLV_CONF.read_text()) == ours
    assert await live(journal) == ["192.0.2.1"]
    assert RESOLV_CONF.read_text() == BEFORE
    await live(journal, succeeded=True)
    assert await live(journal, dns=()) == []
    assert RESOLV_CONF.read_text() == BEFORE
    assert not (journal / FILE).exists()


@story(resolved=True)
async def test_a_successor_takes_resolved_over_without_a_gap() -> None:
    journal = Path("/run/mqvpn")
    await live(journal, succeeded=True, dns_over_tls="yes")
    told = Machine.resolved.link("lo")
    assert told.servers == ["9.9.9.9"]
    Machine.resolved.calls.clear()
    run = Run(Undo(journal))
    async with run.dns:
        run.up()
        await run.until(lambda: run.ready == 1)
        assert "RevertLink" not in Machine.resolved.calls
        assert (Machine.resolved.link("lo").servers, Machine.resolved.link("lo").over_tls) == (["9.9.9.9"], "")
    assert Machine.resolved.links == {}
    for changes in ({"dns": ()}, {"dns_mode": "file"}):
        await live(journal, succeeded=True)
        run = Run(Undo(journal), **changes)
        async with run.dns:
            assert Machine.resolved.links == {}
    assert not (journal / FILE).exists()


@story()
async def test_modes_that_cannot_be_had_fail_the_start() -> None:
    with pytest.raises(OperationFailed, match=r"systemd-resolved: it does not run; .*choose another DNSMode"):
        await Run(dns_mode="resolved").dns.__aenter__()
    with pytest.raises(OperationFailed, match="set DNSOverTLS = yes: this machine does not ask systemd-resolved"):
        await Run(dns_over_tls="yes").dns.__aenter__()
    mount("--bind", "-o", "ro", "/etc", "/etc")
    with pytest.raises(OperationFailed, match=r"/run/mqvpn/dns.sock: No such file .*enable --now mqvpn-dns.socket"):
        await Run().dns.__aenter__()
    async with Run(dns_mode="none").dns:
        pass


@story()
async def test_a_client_in_a_sandbox_asks_by_the_socket() -> None:
    """The socket hands the request to the same program, here in this process."""
    mount("--bind", "-o", "ro", "/etc", "/etc")
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = decode(await reader.readline())
        asked.append(request.verb)
        writer.write(dnshelper.perform(request).encode())
        writer.close()

    server = await asyncio.start_unix_server(serve, dnshelper.SOCKET, limit=MAX_LINE)
    run = Run()
    async with run.dns:
        run.up()
        await run.until(lambda: bool(run.stopped))  # /etc is read-only for it as well
    assert asked == ["restore", "apply", "restore"]
    server.close()


@story()
async def test_stopped_while_it_is_being_set() -> None:
    """The program that sets it is slow to start: the one that takes it back does not overtake it."""
    next_is_slow, program = Path("/run/next-is-slow"), Path("/run/program")
    slow = f"[ -e {next_is_slow} ] && rm {next_is_slow} && sleep 0.5"
    program.write_text(f'#!/bin/sh\n{slow}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    run = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        async with run.dns:
            next_is_slow.touch()
            run.up()
            await run.until(lambda: not next_is_slow.exists())
        await asyncio.sleep(1)  # for one that nobody waits for
    assert RESOLV_CONF.read_text() == BEFORE
    assert run.ready == 0
