"""What finds no file descriptor is done when there is one again: in order, the newest of each kind, and told once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest

from mqvpn.daemon import later as module
from mqvpn.daemon.later import Later
from mqvpn.system.errors import OperationFailed, is_exhaustion, refused
from tests.fakes.timeless import run


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.02)
    return


class Machine:
    """Has descriptors, or none."""

    def __init__(self) -> None:
        self.empty = True
        self.done: list[str] = []
        self.failures: list[Exception] = []
        self.later = Later(self.failures.append)

    def change(self, name: str, code: int = 0) -> Callable[[], None]:
        def body() -> None:
            if self.empty or code:
                raise refused(f"change {name}", errno.EMFILE if self.empty else code)
            self.done.append(name)

        return body


def test_it_is_done_later_in_order_and_the_newest_of_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def body() -> Machine:
        machine = Machine()
        machine.later("address", machine.change("first address"))
        machine.later("dns", machine.change("dns"))
        machine.later("address", machine.change("second address"))
        await asyncio.sleep(0.07)
        assert machine.done == []
        machine.empty = False
        await asyncio.sleep(0.05)
        machine.later("dns", machine.change("dns at once"))
        return machine

    assert run(body()).done == ["second address", "dns", "dns at once"]
    assert caplog.text.count("address has to wait for a free file descriptor: change first address: Too many") == 1
    assert caplog.text.count("there are file descriptors again") == 1
    assert len(caplog.records) == 2


def test_another_failure_is_raised_or_told_if_it_comes_later() -> None:
    async def body() -> Machine:
        machine = Machine()
        machine.later("address", machine.change("address", errno.EPERM))
        machine.later("dns", machine.change("dns"))
        machine.empty = False
        await asyncio.sleep(0.05)
        with pytest.raises(OperationFailed, match="not permitted"):
            machine.later("address", machine.change("address", errno.EPERM))
        return machine

    machine = run(body())
    assert [str(error).split(";")[0] for error in machine.failures] == ["change address: Operation not permitted"]
    assert machine.done == ["dns"]


def test_closed_it_does_nothing_more() -> None:
    async def body() -> Machine:
        machine = Machine()
        machine.later("address", machine.change("address"))
        machine.empty = False
        machine.later.close()
        await asyncio.sleep(0.05)
        return machine

    assert run(body()).done == []


def test_exhaustion_is_known_wherever_it_came_to_light() -> None:
    def raised(code: int) -> Exception:
        try:
            try:
                raise OSError(code, "no more")
            except OSError:
                raise OperationFailed("ask", "the bus cannot be reached", "see there") from None
        except OperationFailed as error:
            return error

    assert is_exhaustion(raised(errno.EMFILE))
    assert is_exhaustion(refused("open", errno.ENFILE))
    assert not is_exhaustion(raised(errno.ENOSPC))
    assert not is_exhaustion(None)
