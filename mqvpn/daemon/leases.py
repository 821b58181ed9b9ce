"""The server's leases, kept in its state directory: who had which address is known after a restart.

The file lists addresses with user and instance, the one to be given away first at the beginning. It is bounded, and
readable by the server alone: under the shared key nothing but its instance tells a client from the others.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from mqvpn.connectip.extension import is_instance
from mqvpn.connectip.pool import Lease, Owner, Pool
from mqvpn.daemon.statefile import StateFile
from mqvpn.tunnel import events

NAME = "leases.json"
MAX_LEASES = 4096  # the newest


class Leases:
    """Fills `pool` from the file, and writes what becomes of it until close()."""

    def __init__(self, directory: str | None, pool: Pool) -> None:
        self._pool = pool
        self._file = StateFile(directory, NAME, self._snapshot)
        value = self._file.load()
        if value is not None:
            try:
                pool.remember(read_leases(value))
            except ValueError as error:
                self._file.distrust(error)

    def following(self, handle_event: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a handler of the tunnel's events that notices, too, who came or went."""

        def handle_and_notice(event: Any) -> None:
            handle_event(event)
            if isinstance(event, events.ClientJoined | events.ClientLeft):
                self._file.changed()

        return handle_and_notice

    async def close(self) -> None:
        """Write the last state."""
        await self._file.close()

    def _snapshot(self) -> Any:
        leases = self._pool.leases(MAX_LEASES)
        return {"leases": [[str(lease.address), lease.owner.user, lease.owner.instance] for lease in leases]}


def read_leases(value: Any) -> list[Lease]:
    """The leases in the file's JSON value, without their IPv6 addresses. Raises ValueError."""
    rows = value.get("leases") if isinstance(value, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_LEASES:
        raise ValueError("no list of leases")
    leases = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 3 or not all(isinstance(part, str) for part in row):
            raise ValueError("a lease is not written as address, user and instance")
        address, user, instance = row
        if instance and not is_instance(instance):
            raise ValueError("an instance is not written as one")
        leases.append(Lease(IPv4Address(address), None, Owner(user, instance)))
    return leases
