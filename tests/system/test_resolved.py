"""The DNS of a link in systemd-resolved: set, kept through restarts of resolved and of the bus, taken back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mqvpn.system import resolved
from mqvpn.system.dns import LinkDns
from mqvpn.system.errors import OperationFailed
from tests.fakes.bus import PrivateBus
from tests.fakes.resolved import FakeLink, FakeResolved

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="not installed: dbus-daemon")

DNS = LinkDns((ip_address("9.9.9.9"), ip_address("2620:fe::fe")), ("corp.example", "~lab.example"), "opportunistic")
SET = FakeLink(["9.9.9.9", "2620:fe::fe"], ["~.", "corp.example", "~lab.example"], True, "opportunistic")
INTERFACE = "lo"
Test = Callable[[PrivateBus, FakeResolved, resolved.Link], Awaitable[None]]


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    with PrivateBus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


@contextlib.asynccontextmanager
async def running(bus: PrivateBus) -> AsyncIterator[FakeResolved]:
    fake = FakeResolved(bus.address)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()


async def until(condition: Callable[[], bool], seconds: float = 5) -> float:
    """Wait for it; returns how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def turning(longest: float = 1.0) -> AsyncIterator[None]:
    """Asserts that the loop is never held up for `longest` seconds meanwhile."""
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    ticker = asyncio.create_task(tick())
    try:
        yield
        await asyncio.sleep(0.05)
    finally:
        ticker.cancel()
    assert gaps
    assert max(gaps) < longest


def run(bus: PrivateBus, test: Test, dns: LinkDns = DNS) -> None:
    """Run it beside a resolved and a link whose DNS is set; nothing of it may be left afterwards."""
    unexpected: list[dict[str, Any]] = []

    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
        async with running(bus) as fake, turning():
            link = resolved.Link(INTERFACE, dns)
            await link.start()
            await test(bus, fake, link)
            await link.stop(leave=False)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(body())
    gc.collect()
    assert unexpected == []


def test_set_and_taken_back(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        assert fake.link(INTERFACE) == SET
        assert link.problem == ""
        await link.stop(leave=False)
        assert fake.links == {}

    run(bus, test)


def test_over_tls_is_as_resolved_is_set_unless_asked_for(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        assert fake.link(INTERFACE).over_tls == ""

    run(bus, test, LinkDns(DNS.servers))


def test_set_again_when_resolved_restarts(bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        await until(lambda: len(fake.calls) == 8)  # the keeper's first round
        await fake.stop()
        await until(lambda: link.problem == "systemd-resolved is not running")
        fake.links.clear()
        await fake.start()
        assert await until(lambda: fake.link(INTERFACE) == SET) < 2
        await until(lambda: link.problem == "")

    run(bus, test)
    assert "systemd-resolved is not running; trying again" in caplog.text


def test_set_again_when_the_bus_was_killed_and_is_back(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        bus.kill()
        await until(lambda: "bus" in link.problem)
        await asyncio.sleep(0.6)  # some attempts fail meanwhile
        fake.links.clear()
        await asyncio.to_thread(bus.start)
        # resolved does not come back by itself: it is waited for, not started.
        await until(lambda: link.problem == "systemd-resolved is not running")
        await fake.start()
        assert await until(lambda: fake.link(INTERFACE) == SET) < 2
        await until(lambda: link.problem == "")

    run(bus, test)


def test_a_bus_that_hangs_is_given_up_and_tried_again(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        bus.hang()
        link.refresh()
        took = await until(lambda: link.problem != "", 15)
        assert 2.5 < took < 4
        fake.links.clear()
        bus.resume()
        await until(lambda: link.problem == "", 5)
        assert fake.link(INTERFACE) == SET

    run(bus, test)


def test_a_resolved_that_does_not_answer(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        fake.silent = True
        link.refresh()
        await until(lambda: "did not answer SetLinkDNS within 3 s" in link.problem, 15)
        fake.silent = False
        await until(lambda: link.problem == "", 5)

    run(bus, test)


def test_a_refusal_while_running_is_tried_again(bus: PrivateBus) -> None:
    async def test(bus: PrivateBus, fake: FakeResolved, link: resolved.Link) -> None:
        fake.denies = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
        link.refresh()
        await until(lambda: "polkitd" in link.problem)
        fake.denies = ""
        await until(lambda: link.problem == "")

    run(bus, test)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "install polkitd"),
        ("org.freedesktop.DBus.Error.AccessDenied", "install polkitd"),
        ("org.freedesktop.resolve1.LinkBusy", "Unmanaged=yes"),
        ("org.freedesktop.resolve1.Else", "journalctl -u systemd-resolved, or say DNSMode = none"),
    ],
)
def test_a_refusal_at_start_says_what_to_do(bus: PrivateBus, error: str, said: str) -> None:
    async def body() -> None:
        async with running(bus) as fake:
            fake.denies = error
            with pytest.raises(OperationFailed, match=f"^SetLinkDNS of systemd-resolved: Interactive .*; .*{said}"):
                await resolved.Link(INTERFACE, DNS).start()

    asyncio.run(body())


def test_no_such_interface(bus: PrivateBus) -> None:
    async def body() -> None:
        async with running(bus):
            with pytest.raises(OperationFailed, match="set the DNS of nowhere0"):
                await resolved.Link("nowhere0", DNS).start()
            await resolved.revert("nowhere0")

    asyncio.run(body())


def test_presence(bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def body() -> None:
        assert not await resolved.present()
        async with running(bus) as fake:
            assert await resolved.present()
            fake.silent = True
            assert await resolved.present()
        with pytest.raises(OperationFailed, match="set the DNS of lo"):
            await resolved.Link(INTERFACE, DNS).start()
        bus.hang()
        async with turning():
            with pytest.raises(OperationFailed, match="did not answer within 3 s"):
                await resolved.present()
        bus.resume()
        bus.kill()
        assert not await resolved.present()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
        assert not await resolved.present()
        await resolved.revert(INTERFACE)

    asyncio.run(body())


@pytest.mark.parametrize("answer", [b"", b"REJECTED\r\n", b"OK 1234\r\n"])
def test_a_bus_that_closes_during_the_greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """dbus-next alone would hold up the whole loop for ever on the first of them."""
    path = tmp_path / "bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client = listener.accept()[0]
            client.recv(100)
            client.sendall(answer)
            client.close()

        threading.Thread(target=serve, daemon=True).start()

        async def body() -> None:
            async with turning():
                with pytest.raises(OperationFailed, match="the system bus"):
                    await resolved.present()

        asyncio.run(body())


def test_a_bus_with_a_full_queue_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))

        async def body() -> None:
            async with turning():
                with pytest.raises(OperationFailed, match="the system bus cannot be reached"):
                    await resolved.present()

        asyncio.run(body())


def test_no_descriptor_is_left_open(bus: PrivateBus) -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    async def body() -> None:
        async with running(bus):
            await resolved.present()
            before = count()
            for _ in range(10):
                assert await resolved.present()
            assert count() == before

    asyncio.run(body())
