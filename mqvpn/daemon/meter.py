"""How much went over metered interfaces in this day, week or month (UTC), kept in the state directory.

Counted are the bytes of all paths with their UDP and IP headers, both directions, once a second: so a cap is overrun by
what a second holds, and by handshakes. Without a state directory it begins anew with the process. A clock that is wrong
for a while (1970 until it is set) takes nothing away: what was counted in the periods before is kept beside.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from mqvpn.config.values import PathSetting
from mqvpn.daemon.statefile import StateFile
from mqvpn.tunnel.counters import PathFigures

NAME = "usage.json"
INTERVAL = 1.0  # seconds between two counts
MAX_INTERFACES = 64  # the last ones that carried something
KEPT = 3  # periods of each kind, those counted in last
HEADERS = {False: 28, True: 48}  # bytes of UDP and IP, by whether it is IPv6
PERIODS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}

Key = tuple[int, int]  # connection and path
Usage = dict[tuple[str, str], dict[str, int]]  # by interface and kind: bytes by period, the latest counted last


def period(kind: str, now: float) -> str:
    """The name of the day, week or month that `now`, seconds since 1970, is in."""
    return datetime.fromtimestamp(now, UTC).strftime(PERIODS[kind])


class Meter:
    """Bytes by interface and kind of period."""

    def __init__(self, directory: str | None) -> None:
        self._file = StateFile(directory, NAME, self._snapshot)
        self._used: Usage = {}
        self._counted: dict[Key, int] = {}
        value = self._file.load()
        if value is not None:
            try:
                self._used = read_usage(value)
            except ValueError as error:
                self._file.distrust(error)

    def count(self, connection: int, figures: Iterable[PathFigures], now: float) -> None:
        """What the open paths of a connection have carried until now; `now`: seconds since 1970."""
        seen: dict[Key, int] = {}
        for path in figures:
            header = HEADERS[path.remote.startswith("[")]
            seen[connection, path.id] = total = (
                path.tx_bytes + path.rx_bytes + header * (path.tx_packets + path.rx_packets)
            )
            self._add(path.interface, total - self._counted.get((connection, path.id), 0), now)
        self._counted = seen

    def used(self, interface: str, kind: str, now: float) -> int:
        """Bytes in the current period."""
        return self._used.get((interface, kind), {}).get(period(kind, now), 0)

    def is_spent(self, interface: str, setting: PathSetting, now: float) -> bool:
        """Whether the interface's cap is reached."""
        return bool(setting.cap) and self.used(interface, setting.period, now) >= setting.cap

    async def close(self) -> None:
        """Write the last state."""
        await self._file.close()

    def _add(self, interface: str, count: int, now: float) -> None:
        if count <= 0 or not interface:
            return
        for kind in PERIODS:
            periods = self._used[interface, kind] = self._used.pop((interface, kind), {})
            name = period(kind, now)
            periods[name] = periods.pop(name, 0) + count
            if len(periods) > KEPT:
                del periods[next(iter(periods))]
        while len(self._used) > MAX_INTERFACES * len(PERIODS):
            del self._used[next(iter(self._used))]
        self._file.changed()

    def _snapshot(self) -> Any:
        usage: dict[str, dict[str, Any]] = {}
        for (interface, kind), periods in self._used.items():
            usage.setdefault(interface, {})[kind] = periods
        return usage


def read_usage(value: Any) -> Usage:
    """The file's JSON value. Raises ValueError."""
    if not isinstance(value, dict) or len(value) > MAX_INTERFACES:
        raise ValueError("no usage by interface")
    used: Usage = {}
    for interface, kinds in value.items():
        if not isinstance(kinds, dict) or not set(kinds) <= set(PERIODS):
            raise ValueError(f"no periods of {interface}")
        for kind, periods in kinds.items():
            if not isinstance(periods, dict) or len(periods) > KEPT:
                raise ValueError(f"no periods by the {kind} of {interface}")
            if not all(type(count) is int and count >= 0 for count in periods.values()):
                raise ValueError(f"no bytes in the {kind} of {interface}")
            used[interface, kind] = periods
    return used
