"""The many clients of one process do not keep each other waiting."""

from __future__ import annotations

import asyncio
import os
import statistics

from mqvpn.daemon.pump import SLICE
from mqvpn.daemon.timerfd import clock
from mqvpn.dataplane.engine import Engine
from mqvpn.dataplane.tun import Tun
from tests.bench.swarm import MemberPump

TURNS = 11  # of the loop


def test_a_members_wake_up_leaves_the_loop_to_the_others() -> None:
    readable, writable = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.write(writable, b"x")  # never read, so that every turn of the loop is one of the pump's

    async def turns() -> list[float]:
        pump = MemberPump(Engine(is_server=False), Tun(nothing), readable, lambda event: None, lambda error: None)
        pump.start()
        spans = []
        for _ in range(TURNS):
            before = clock()
            await asyncio.sleep(0)
            spans.append(clock() - before)
        pump.close()
        return spans

    try:
        assert statistics.median(asyncio.run(turns())) < SLICE / 2
    finally:
        for opened in (readable, writable, nothing):
            os.close(opened)
