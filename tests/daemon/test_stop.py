"""The first signal asks to stop, the second ends the process on the spot."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

from mqvpn.daemon.stop import Stop

STUBBORN = """
import asyncio
from mqvpn.daemon.stop import Stop
async def main():
    stop = Stop()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_signal_asks_to_stop() -> None:
    async def wait() -> int:
        stop = Stop()
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)
        return stop.status

    assert asyncio.run(wait()) == 0


def test_the_first_status_counts() -> None:
    async def wish() -> int:
        stop = Stop()
        stop(77)
        stop(1)
        return stop.status

    assert asyncio.run(wish()) == 77


def test_work_goes_on_until_it_is_time_to_stop() -> None:
    async def work() -> tuple[int | None, bool | None]:
        stop = Stop()
        done = await stop.interrupts(asyncio.sleep(0, 7))
        asyncio.get_running_loop().call_later(0.01, stop, 0)
        return done, await stop.interrupts(asyncio.sleep(60, True))

    assert asyncio.run(work()) == (7, None)


def test_the_second_signal_ends_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "stopping\n"
        process.terminate()
        assert process.wait(5) == 128 + signal.SIGTERM


def test_sigusr1_stops_but_leaves_things_to_a_successor() -> None:
    async def wait(number: int) -> list[str]:
        stop = Stop()
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
        undone: list[str] = []
        stop.unless_succeeded(lambda: undone.append("routes"))
        return undone

    assert asyncio.run(wait(signal.SIGUSR1)) == []
    assert asyncio.run(wait(signal.SIGTERM)) == ["routes"]
