"""Who keeps the block of a kill switch standing (block.py): the owner of its table, over deaths and restarts.

systemd's descriptor store keeps the owner's socket, and so the ownership, from one life of the client to the next, so
there is no moment in which `nft flush ruleset` would take the table. libnftables cannot be given that socket, though,
and the next owner can take the table only when the former is gone: for that moment the next one has a second table
with the same rules standing beside it.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence

from mqvpn.system import activation, block
from mqvpn.system.block import LOCKDOWN, NEXT, Block, table_of
from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed
from mqvpn.system.nftowner import FLAGS, Owner

log = logging.getLogger(__name__)

STORED = "block"  # the name in the descriptor store
PATIENCE = 3.0  # seconds that systemd may take to close what it keeps
PAUSE = 0.005  # seconds between two looks


class Keeper:
    """Keeps the block of one client standing, as the owner of its table if it can be; close() leaves it standing.

    `former` is what the descriptor store kept of the predecessor.
    """

    def __init__(self, former: Sequence[int] = ()) -> None:
        self._former = former
        self._owns = False
        self._owner: Owner | None = None
        try:
            self._owner = Owner()
        except OperationFailed as error:
            log.debug("%s", error)

    def close(self) -> None:
        """Own it no longer, but by what is in the store; may be called again."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def apply(self, wanted: Block) -> None:
        """Block all else; may be called again at any time. Raises OperationFailed: the block before still stands."""
        if self._owner is None or not self._apply_as(self._owner, wanted):
            if self._former:
                give_up(self._former)
                self._former = ()
            block.apply(wanted)

    def lift(self, name: str) -> None:
        """See block.lift(), and close(). Raises OperationFailed."""
        if self._owner is not None and self._owns:
            with change("block-lifted"):
                self._owner.transact(_destroy(table_of(name)), f"lift the block of {name}")
            activation.unstore(STORED)
        else:
            block.lift(name)
        self.close()

    def _apply_as(self, owner: Owner, wanted: Block) -> bool:
        """Whether this kernel and this nft know owners."""
        former = map(_destroy, (table_of(LOCKDOWN), table_of(wanted.name) + NEXT, table_of(wanted.name)))
        script = "".join(former) + block.table(wanted.name, [wanted], FLAGS)
        try:
            with change("block"):
                waiting = self._former and self._bridge(owner, wanted)
                _do(lambda: owner.transact(script, block.wish(wanted)), patiently=bool(waiting))
        except OperationFailed as error:
            if self._owns:
                raise
            log.debug("%s", error)
            self.close()
            return False
        if not self._owns:
            _store(owner)
        self._owns = True
        return True

    def _bridge(self, owner: Owner, wanted: Block) -> bool:
        """Block by a second table while the first gets another owner; see give_up(). Raises OperationFailed."""
        beside = _destroy(table_of(wanted.name) + NEXT) + block.table(wanted.name, [wanted], FLAGS, NEXT)
        owner.transact(beside, block.wish(wanted))
        former, self._former = self._former, ()
        return give_up(former, owner)


def lift(name: str, former: Sequence[int] = ()) -> None:
    """Lift what a predecessor in this unit left, though the store keeps its owner. Raises OperationFailed."""
    waiting = give_up(former)
    _do(lambda: block.lift(name), patiently=waiting)


def give_up(former: Sequence[int] = (), heir: Owner | None = None) -> bool:
    """Let others change the table whose owner the descriptor store keeps, as `former` is here; it then keeps `heir`.

    Whether there is a store: systemd lets go of what it keeps at once, but closes it beside its other work.
    """
    activation.unstore(STORED)
    if heir is not None:
        _store(heir)
    for fd in former:
        os.close(fd)
    return activation.barrier(PATIENCE)


def _do(act: Callable[[], None], *, patiently: bool) -> None:
    """Raises OperationFailed; only after a while if patiently."""
    end = time.monotonic() + (PATIENCE if patiently else 0)
    while True:
        try:
            act()
            return
        except OperationFailed:
            if time.monotonic() >= end:
                raise
        time.sleep(PAUSE)


def _store(owner: Owner) -> None:
    if (fd := owner.fileno()) is not None:
        activation.store(STORED, fd)


def _destroy(table: str) -> str:
    """As nft.without(), but also for a table that has lost its owner; who knows owners knows this."""
    return f"destroy table inet {table}\n"
