"""--clean-up: undo what a daemon that could not do so itself has left on the machine; ExecStopPost= of the units.

Nothing is done when systemd is about to start the unit again: the successor takes over, and meanwhile the routes lead
into the TUN device, which the descriptor store keeps. May be called again, and without a daemon ever having run.
"""

import logging
import os
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.daemon import exit
from mqvpn.daemon.dns import wanted
from mqvpn.daemon.dnshelper import take_back
from mqvpn.daemon.log import start_logging
from mqvpn.daemon.undojournal import journal_of
from mqvpn.system import block, nat, routing, unit
from mqvpn.system.dns import resolved_is_asked
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.resolvfile import marked
from mqvpn.system.sysctl import Sysctls

log = logging.getLogger(__name__)


def run(settings: ServerSettings | ClientSettings) -> int:
    """Return the exit status: 0, or 1 when something could not be undone, which is said."""
    start_logging(settings.log_level, settings.name)
    if unit.starts_again(unit.name()):
        return 0
    status = 0
    try:
        if isinstance(settings, ServerSettings):
            nat.apply(settings.tun_name, ())
        else:
            _clean_up_client(settings)
    except OperationFailed as error:
        log.error("%s", error)
        status = exit.FAILED
    Sysctls(record=sysctl_record()).restore()
    return status


def _clean_up_client(settings: ClientSettings) -> None:
    undo = journal_of(settings)
    if undo.record.slot is not None:
        with Netlink() as netlink:
            routing.apply(netlink, routing.EMPTY, undo.record.slot)
        undo.note(slot=None)
    if marked() or (wanted(settings) is not None and not resolved_is_asked()):
        answer = take_back(settings.instance or settings.tun_name)
        if answer.error:
            log.error("the former DNS is not back: %s", answer.error)
    # Only the user's stop lifts the kill switch: after a failure for good it stays, until `mqvpnctl unblock`.
    if settings.kill_switch and unit.stops_for_good(unit.name()):
        block.lift(settings.name)


def sysctl_record() -> Path | None:
    """Where a daemon notes the kernel settings it changes: its runtime directory, if it has one."""
    directory = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(directory, "sysctls.json") if directory else None
