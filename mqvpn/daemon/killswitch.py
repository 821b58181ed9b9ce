"""The client's kill switch in time: engaged before anything is sent, kept whole, lifted only by the user's stop.

A daemon that dies leaves it standing, and its successor takes it over (system.block). Whoever manages to take it out of
the firewall while the client runs gets it back at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from mqvpn.config.client import ClientSettings
from mqvpn.daemon.repairs import Repairs
from mqvpn.system import block, keeper, unit
from mqvpn.system.block import Block
from mqvpn.system.errors import OperationFailed
from mqvpn.system.keeper import Keeper
from mqvpn.system.nftwatch import TableWatch
from mqvpn.system.undo import Undo

log = logging.getLogger(__name__)


class KillSwitch:
    """Does nothing but lift what a predecessor left if the settings do not ask for it; `former` see Keeper."""

    def __init__(self, settings: ClientSettings, undo: Undo, former: Sequence[int] = ()) -> None:
        self._undo = undo
        self._name = settings.name
        self._wanted = settings.kill_switch
        self._block = block_of(settings)
        self._former = former
        self._keeper = Keeper(former) if self._wanted else None
        self._watch: TableWatch | None = None
        self._repairs = Repairs("kill switch", self._repair)

    def engage(self) -> None:
        """From here on nothing leaves but by the tunnel. Raises OperationFailed: then nothing may be sent at all."""
        if self._wanted:
            self._watch = TableWatch(block.table_of(self._name))
            asyncio.get_running_loop().add_reader(self._watch.fileno(), self._firewall_changed)
            self._apply()
            log.info("kill switch: traffic outside the tunnel is blocked")
        elif _stands(self._name):
            keeper.lift(self._name, self._former)
            self._undo.done("block")
            log.info("kill switch: not asked for any more, so the block of an earlier run is lifted")

    def set_addresses(self, addresses: tuple[IPv4Address | IPv6Address, ...]) -> None:
        """These are ours inside the tunnel. Raises OperationFailed."""
        if self._wanted and addresses != self._block.addresses:
            self._become(replace(self._block, addresses=addresses))

    def reload(self, settings: ClientSettings) -> None:
        """Let past the tunnel what these settings say. Raises OperationFailed."""
        wish = replace(self._block, lan=settings.allow_lan, excluded=settings.exclude)
        if self._wanted and wish != self._block:
            self._become(wish)

    def close(self, *, lift: bool) -> None:
        """Watch no more; `lift` is for the user's stop alone. While the machine goes down the networks may still stand,
        so the block stays to the end."""
        self._repairs.close()
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None
        if self._keeper is None:
            return
        if lift and unit.machine_stops():
            self._keeper.close()
            self._undo.done("block")  # it ends with the machine
            log.info("kill switch: the machine goes down, and traffic stays blocked to the end")
            return
        if not lift:
            self._keeper.close()
            log.warning("kill switch: traffic outside the tunnel stays blocked; `mqvpnctl unblock` lifts it")
            return
        try:
            self._keeper.lift(self._name)
            self._undo.done("block")
        except OperationFailed as error:
            log.warning("%s", error)

    def _become(self, wish: Block) -> None:
        """Refused, it stays as it was, and may be wished again."""
        before, self._block = self._block, wish
        try:
            self._apply()
        except OperationFailed:
            self._block = before
            raise

    def _apply(self) -> None:
        self._undo.note(block=self._name)
        if self._keeper is not None:
            self._keeper.apply(self._block)
        if self._watch is not None:
            self._watch.lost()  # what the transaction itself replaced

    def _firewall_changed(self) -> None:
        try:
            if self._watch is not None and self._watch.lost():
                self._repairs.look()
        except OperationFailed as error:
            log.error("%s", error)

    def _repair(self) -> bool:
        self._apply()
        return True


def block_of(settings: ClientSettings) -> Block:
    """What the kill switch of a client lets pass before there is a tunnel."""
    return Block(
        name=settings.name,
        tun=settings.tun_name,
        mark=settings.fwmark,
        lan=settings.allow_lan,
        excluded=settings.exclude,
    )


def _stands(name: str) -> bool:
    """Whether there is a block; a machine without nft has none."""
    try:
        return block.stands(name)
    except OperationFailed:
        return False
