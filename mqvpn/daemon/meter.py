"""How much went over metered interfaces in this day, week or month (UTC), kept in the state directory.

Counted are the bytes of all paths with their UDP and IP headers, both directions, once a second: so a cap is overrun by
what a second holds, and by handshakes. Without a state directory it begins anew with the process.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from mqvpn.config.values import PathSetting
from mqvpn.daemon.statefile import StateFile
from mqvpn.tunnel.counters import PathFigures

NAME = "usage.json"
INTERVAL = 1.0  # seconds between two counts
MAX_INTERFACES = 64
HEADERS = {False: 28, True: 48}  # bytes of UDP and IP, by whether it is IPv6
PERIODS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}

Key = tuple[int, int]  # connection and path


def period(kind: str, now: float) -> str:
    """The name of the day, week or month that `now`, seconds since 1970, is in."""
    return datetime.fromtimestamp(now, UTC).strftime(PERIODS[kind])


class Meter:
    """Bytes by interface and kind of period."""

    def __init__(self, directory: str | None) -> None:
        self._file = StateFile(directory, NAME, self._snapshot)
        self._used: dict[tuple[str, str], tuple[str, int]] = {}  # by interface and kind: the period, and bytes in it
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
        name, count = self._used.get((interface, kind), ("", 0))
        return count if name == period(kind, now) else 0

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
            self._used[interface, kind] = period(kind, now), self.used(interface, kind, now) + count
        self._file.changed()

    def _snapshot(self) -> Any:
        usage: dict[str, dict[str, Any]] = {}
        for (interface, kind), (name, count) in list(self._used.items())[-MAX_INTERFACES * len(PERIODS) :]:
            usage.setdefault(interface, {})[kind] = [name, count]
        return usage


def read_usage(value: Any) -> dict[tuple[str, str], tuple[str, int]]:
    """The file's JSON value. Raises ValueError."""
    if not isinstance(value, dict) or len(value) > MAX_INTERFACES:
        raise ValueError("no usage by interface")
    used: dict[tuple[str, str], tuple[str, int]] = {}
    for interface, kinds in value.items():
        if not isinstance(kinds, dict) or not set(kinds) <= set(PERIODS):
            raise ValueError(f"no periods of {interface}")
        for kind, entry in kinds.items():
            if not isinstance(entry, list) or [type(part) for part in entry] != [str, int] or entry[1] < 0:
                raise ValueError(f"no bytes in the {kind} of {interface}")
            used[interface, kind] = entry[0], entry[1]
    return used
