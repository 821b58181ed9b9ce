"""Keeps on the machine what the client has put there: networkd, NetworkManager and administrators tidy up."""

import asyncio
import socket
from typing import Self

from mqvpn.daemon.host import Host
from mqvpn.daemon.repairs import Repairs
from mqvpn.system.routewatch import RouteWatch


class Upkeep:
    """From entering it to leaving it, what is deleted of the host's addresses, routes and rules comes back."""

    def __init__(self, host: Host, interface: str) -> None:
        """interface: the TUN's name. Raises OperationFailed."""
        self._interface = interface
        self._watch = RouteWatch()
        self._repairs = Repairs("addresses and routes", host.repair)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._changed)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        self._repairs.close()
        self._watch.close()

    def _changed(self) -> None:
        try:
            self._watch.interface = socket.if_nametoindex(self._interface)
        except OSError:
            self._watch.interface = 0
        if self._watch.lost():
            self._repairs.look()
