"""Exit statuses of the daemons, those of sysexits.h where it has one; 0 is the end that was asked for."""

import errno
import logging

from mqvpn.daemon.eventlog import event
from mqvpn.system.errors import OperationFailed
from mqvpn.system.notify import Notifier
from mqvpn.system.undo import JournalUnwritable

log = logging.getLogger(__name__)

FAILED = 1
UNAVAILABLE = 69  # the server cannot be reached, and Reconnect = false
UNDO = 74  # what is changed on this machine cannot be noted, so nothing is
REFUSED = 77  # the server does not accept our key, or with Reconnect = false we not its certificate
CONFIG = 78
ERRNOS = {
    FAILED: errno.EIO,
    UNAVAILABLE: errno.EHOSTUNREACH,
    UNDO: errno.EIO,
    REFUSED: errno.EACCES,
    CONFIG: errno.EINVAL,
}


class Unusable(Exception):
    """A file that the configuration names cannot be used; `str()` says which and why. The end is CONFIG."""


def status_of(error: OperationFailed) -> int:
    """The status for what this machine refuses."""
    return UNDO if isinstance(error, JournalUnwritable) else FAILED


def failing(status: int, reason: object) -> int:
    """Say why the daemon ends, in the log and to systemd; returns the exit status."""
    log.error("%s", reason, extra=event("failed", reason=str(reason)))
    Notifier().failed(getattr(reason, "code", ERRNOS[status]), str(reason))
    return status
