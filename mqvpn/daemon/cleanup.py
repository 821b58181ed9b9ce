"""--clean-up: undo what a daemon that could not do so itself has left on the machine; ExecStopPost= of the units.

What that is stands in the undo journal alone: the configuration may be changed, broken or gone by now. Nothing is done
when systemd is about to start the unit again: the successor takes over, and meanwhile the routes lead into the TUN
device, which the descriptor store keeps. May be called again, and without a daemon ever having run.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from mqvpn.daemon import exit, lent
from mqvpn.daemon.dnshelper import take_back
from mqvpn.daemon.log import start_logging
from mqvpn.daemon.undojournal import CLIENT, RUN, SERVER, is_own, place
from mqvpn.system import keeper, nat, routing, unit
from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.resolvfile import marked
from mqvpn.system.sysctl import Sysctls
from mqvpn.system.undo import FILE, NOTHING, JournalUnwritable, Undo

log = logging.getLogger(__name__)


def run(instance: str) -> int:
    """Clean up after `server` or client-NAME (empty: all that do not run, if our runtime directory does not tell).

    Returns the exit status: 0, or 1 when something could not be undone, which is said.
    """
    start_logging("info", instance.removeprefix(CLIENT))
    if unit.starts_again(unit.name()):
        return 0
    folder = place(instance)
    folders = sorted(file.parent for file in RUN.glob(f"*/{FILE}")) if folder == RUN else [folder]
    well = [_is_well(folder, instance) for folder in folders]
    return 0 if all(well) else exit.FAILED


def _is_well(folder: Path, instance: str) -> bool:
    try:
        return _clean_up(folder, instance)
    except OperationFailed as error:
        log.error("%s", error)
        return False


def _clean_up(folder: Path, instance: str) -> bool:
    """Whether all could be undone; what could not is said. Raises OperationFailed when nothing can be."""
    with Undo(folder, passing=is_own()) as undo:
        if not _lock(undo, folder):
            log.error("%s: this daemon runs, so nothing is undone; stop it", folder)
            return False
        # Only the user's stop lifts the kill switch: after a failure for good it stays, until `mqvpnctl unblock`.
        well = done(lambda: _dns(undo, instance))
        with Netlink() as netlink:
            well = restore(undo, netlink) and well
        if undo.record.block and unit.machine_stops():
            undo.done("block")  # it stays to the end
        elif undo.record.block and unit.stops_for_good(unit.name()):
            well = done(lambda: _block(undo)) and well
        return well


def _lock(undo: Undo, folder: Path) -> bool:
    """undo.lock(); without the lock, too, if the folder has gone and cannot be made again. The unit of the control
    socket cleans up as well, and who is done first removes the folder, with nothing in it; perhaps while we started."""
    try:
        return undo.lock()
    except JournalUnwritable:
        if undo.record != NOTHING or folder.exists():
            raise
        return True


def restore(undo: Undo, netlink: Netlink) -> bool:
    """Take back the routes, rules, firewall tables, kernel settings and the state of a TUN device that are in the
    journal; whether that went well."""
    steps = (lambda: routes(undo, netlink), lambda: tables(undo), lambda: lent.give_back(undo, netlink))
    well = [done(step) for step in steps]
    return Sysctls(undo=undo).restore() and all(well)


def routes(undo: Undo, netlink: Netlink) -> None:
    """Take back the routes and rules. Raises OperationFailed."""
    if undo.record.slot is not None:
        routing.apply(netlink, routing.EMPTY, undo.record.slot)
        undo.done("slot")


def tables(undo: Undo) -> None:
    """Take back the server's firewall tables. Raises OperationFailed."""
    for table in undo.record.tables:
        nat.remove(table)
    undo.done("tables")


def done(step: Callable[[], None]) -> bool:
    """Whether it could be done; else the reason is logged."""
    try:
        step()
    except OperationFailed as error:
        log.error("%s", error)
        return False
    return True


def _dns(undo: Undo, instance: str) -> None:
    """mqvpn-dns has a journal of its own, which survives a reboot; and a file of ours is known by its first line."""
    name = undo.record.dns or (instance.removeprefix(CLIENT) if instance != SERVER and marked() else "")
    if name:
        with change("dns-back"):
            answer = take_back(name)
        if answer.error:
            raise OperationFailed("take the DNS back", answer.error, "see mqvpn-client(8)")
    undo.done("dns", "former")  # that of a link goes with it


def _block(undo: Undo) -> None:
    keeper.lift(undo.record.block)
    undo.done("block")
