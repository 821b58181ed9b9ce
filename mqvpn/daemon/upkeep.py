"""Keeps on the machine what a daemon has put there: networkd, NetworkManager and administrators tidy up."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Protocol, Self

from mqvpn.daemon.repairs import Repairs
from mqvpn.system.errors import OperationFailed
from mqvpn.system.nftwatch import TableWatch
from mqvpn.system.routewatch import RouteWatch

log = logging.getLogger(__name__)


class Host(Protocol):
    """What a daemon changes on the machine."""

    def repair(self) -> bool:
        """Put back what is missing; whether anything was. Raises OperationFailed."""
        ...


class Watching:
    """From entering it to leaving it, what `watch` sees deleted is put back by `repairs`."""

    def __init__(self, watch: RouteWatch | TableWatch, repairs: Repairs) -> None:
        self._watch = watch
        self._repairs = repairs

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._changed)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        self._repairs.close()
        self._watch.close()

    def _changed(self) -> None:
        try:
            if self._watch.lost():
                self._repairs.look()
        except OperationFailed as error:
            log.error("%s", error)


class Upkeep(Watching):
    """From entering it to leaving it, what is deleted of the host's addresses, routes and rules comes back."""

    def __init__(self, host: Host, interface: str) -> None:
        """interface: the TUN's name. Raises OperationFailed."""
        self._interface = interface
        self._routes = RouteWatch()
        super().__init__(self._routes, Repairs("addresses and routes", host.repair))

    def _changed(self) -> None:
        try:
            self._routes.interface = socket.if_nametoindex(self._interface)
        except OSError:
            self._routes.interface = 0
        super()._changed()


class TableUpkeep(Watching):
    """From entering it to leaving it, `apply` is called when somebody deletes from our nftables table `table`."""

    def __init__(self, what: str, table: str, apply: Callable[[], None]) -> None:
        """what: for the log. Raises OperationFailed."""
        super().__init__(TableWatch(table), Repairs(what, self._repair))
        self._apply = apply

    def _repair(self) -> bool:
        self._apply()
        self._watch.lost()  # what the transaction itself replaced
        return True
