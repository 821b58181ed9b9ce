"""Who this client is, and what addresses it had last, kept in its state directory.

Its instance, a random value, tells it from other clients of the same user: after a restart the server knows it again
and gives it the addresses that its programs still use. Without a state directory it lasts as long as the process.
"""

import secrets
from ipaddress import ip_network
from typing import Any

from mqvpn.connectip.extension import is_instance
from mqvpn.daemon.statefile import StateFile
from mqvpn.wire.address import Network

NAME = "client.json"
INSTANCE_BYTES = 16  # random ones
MAX_SERVERS = 16  # whose addresses are remembered, the newest
MAX_ADDRESSES = 8  # of each


class Identity:
    """The client towards `server`, HOST:PORT, which may be changed."""

    def __init__(self, directory: str | None, server: str) -> None:
        self.server = server
        self._file = StateFile(directory, NAME, self._snapshot)
        self.instance = ""
        self._addresses: dict[str, tuple[Network, ...]] = {}
        value = self._file.load()
        if value is not None:
            try:
                self.instance, self._addresses = read_identity(value)
            except ValueError as error:
                self._file.distrust(error)
        if not self.instance:
            self.renew()

    def last_addresses(self, server: str) -> tuple[Network, ...]:
        """What that server assigned last."""
        return self._addresses.get(server, ())

    def remember(self, addresses: tuple[Network, ...]) -> None:
        """The server assigned exactly these."""
        if addresses and addresses != self.last_addresses(self.server):
            self._addresses.pop(self.server, None)
            self._addresses[self.server] = addresses
            self._file.changed()

    def renew(self) -> None:
        """Become another instance, because ours is used by somebody else, too."""
        self.instance = secrets.token_urlsafe(INSTANCE_BYTES)
        self._file.changed()

    async def close(self) -> None:
        """Write the last state."""
        await self._file.close()

    def _snapshot(self) -> Any:
        newest = list(self._addresses.items())[-MAX_SERVERS:]
        servers = {server: [str(prefix) for prefix in addresses] for server, addresses in newest}
        return {"instance": self.instance, "addresses": servers}


def read_identity(value: Any) -> tuple[str, dict[str, tuple[Network, ...]]]:
    """The instance, and the addresses by server, in the file's JSON value. Raises ValueError."""
    instance = value.get("instance") if isinstance(value, dict) else None
    servers = value.get("addresses") if isinstance(value, dict) else None
    if not isinstance(instance, str) or not is_instance(instance) or not isinstance(servers, dict):
        raise ValueError("no instance and addresses")
    if len(servers) > MAX_SERVERS:
        raise ValueError(f"addresses of more than {MAX_SERVERS} servers")
    return instance, {server: _read_addresses(addresses) for server, addresses in servers.items()}


def _read_addresses(addresses: Any) -> tuple[Network, ...]:
    if not isinstance(addresses, list) or len(addresses) > MAX_ADDRESSES:
        raise ValueError("no list of addresses")
    if not all(isinstance(address, str) for address in addresses):
        raise ValueError("an address is not text")
    return tuple(map(ip_network, addresses))
