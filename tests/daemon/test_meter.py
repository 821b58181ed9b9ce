"""What is counted of metered interfaces, when it starts over, and that it is kept."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mqvpn.config.values import PathSetting
from mqvpn.daemon.meter import KEPT, MAX_INTERFACES, NAME, PERIODS, Meter, period, read_usage
from mqvpn.tunnel.counters import PathFigures

NOON = 1_764_158_400.0  # 2025-11-26, a Wednesday, 12:00 UTC
DAY = 86400.0
PATH = PathFigures(
    0, "wwan0", "192.0.2.1:443", "active", True, False, 1, 1, 1, 1, 0, 0, 1400,
    tx_bytes=1000, rx_bytes=2000, tx_packets=1, rx_packets=2, lost=0,
)  # fmt: skip
FIRST = 3000 + 3 * 28


def test_periods() -> None:
    names = [period(kind, NOON) for kind in ("day", "week", "month")]
    assert names == ["2025-11-26", "2025-W48", "2025-11"]


def test_only_what_came_since_is_counted_and_each_connection_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        meter = Meter(str(tmp_path))
        meter.count(1, [PATH], NOON)
        meter.count(1, [PATH], NOON)
        assert meter.used("wwan0", "month", NOON) == FIRST
        meter.count(1, [replace(PATH, tx_bytes=1500)], NOON)
        meter.count(2, [replace(PATH, remote="[2001:db8::1]:443")], NOON)
        assert meter.used("wwan0", "month", NOON) == FIRST + 500 + 3000 + 3 * 48
        assert meter.used("eth0", "month", NOON) == 0
        await meter.close()

    asyncio.run(run())


def test_a_cap_is_reached_until_the_period_is_over(tmp_path: Path) -> None:
    async def run() -> None:
        meter = Meter(str(tmp_path))
        meter.count(1, [PATH], NOON)
        for kind, days in (("day", 1), ("week", 5), ("month", 5)):
            for cap, spent in ((0, False), (3000, True), (4000, False)):
                assert meter.is_spent("wwan0", PathSetting("wwan0", cap=cap, period=kind), NOON) == spent
            setting = PathSetting("wwan0", cap=3000, period=kind)
            assert not meter.is_spent("wwan0", setting, NOON + days * DAY)
        await meter.close()

    asyncio.run(run())


def test_it_outlives_the_process(tmp_path: Path) -> None:
    async def run() -> int:
        meter = Meter(str(tmp_path))
        meter.count(1, [PATH], NOON)
        await meter.close()
        return Meter(str(tmp_path)).used("wwan0", "day", NOON)

    assert asyncio.run(run()) == FIRST


def test_a_clock_that_steps_away_and_back_forgets_nothing(tmp_path: Path) -> None:
    """A month ahead, and 1970, as before a clock is set; also when the process ends meanwhile."""

    async def run() -> None:
        meter = Meter(str(tmp_path))
        meter.count(1, [PATH], NOON)
        meter.count(1, [replace(PATH, tx_bytes=1100)], NOON + 31 * DAY)
        await meter.close()
        meter = Meter(str(tmp_path))
        meter.count(2, [replace(PATH, tx_bytes=1200)], 0)
        assert [meter.used("wwan0", kind, NOON) for kind in PERIODS] == 3 * [FIRST]
        meter.count(2, [replace(PATH, tx_bytes=1205)], NOON)
        assert [meter.used("wwan0", kind, NOON) for kind in PERIODS] == 3 * [FIRST + 5]
        assert meter.used("wwan0", "month", NOON + 31 * DAY) == 100
        for days in range(100):
            meter.count(2, [replace(PATH, tx_bytes=2000 + days)], NOON + days * DAY)
        await meter.close()

    asyncio.run(run())
    content = (tmp_path / NAME).read_text()
    assert [len(periods) for periods in json.loads(content)["wwan0"].values()] == 3 * [KEPT]


def test_the_interfaces_used_last_are_remembered(tmp_path: Path) -> None:
    """A modem gets other names for ever, and the one with the cap is older than all of them."""

    async def run() -> None:
        meter = Meter(str(tmp_path))
        for number in range(2 * MAX_INTERFACES):
            meter.count(2 * number, [replace(PATH, interface=f"ppp{number}")], NOON)
            meter.count(2 * number + 1, [PATH], NOON)
        await meter.close()

    asyncio.run(run())
    after = Meter(str(tmp_path))
    assert after.used("wwan0", "month", NOON) == 2 * MAX_INTERFACES * FIRST
    assert len(json.loads((tmp_path / NAME).read_text())) == MAX_INTERFACES
    assert [after.used(f"ppp{number}", "day", NOON) for number in (0, 2 * MAX_INTERFACES - 1)] == [0, FIRST]


NO_USAGE = [
    [],
    {"wwan0": []},
    {"wwan0": {"year": {"2025": 1}}},
    {"wwan0": {"day": {"x": -1}}},
    {"wwan0": {"day": {"x": True}}},
    {"wwan0": {"day": ["x", 1]}},
    {"wwan0": {"day": dict.fromkeys("abcd", 1)}},
]


@pytest.mark.parametrize("value", NO_USAGE)
def test_what_is_no_usage_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no "):
        read_usage(value)
    (tmp_path / NAME).write_text("{")
    assert Meter(str(tmp_path)).used("wwan0", "day", NOON) == 0
