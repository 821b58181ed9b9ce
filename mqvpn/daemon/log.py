"""Where log lines go: to the journal with their fields if stderr leads there, else to stderr as `LEVEL message`."""

import logging

from mqvpn.daemon.repeats import Repeats
from mqvpn.system import journal

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def start_logging(level: str, instance: str) -> None:
    """Log our own messages from `level` on; of the libraries only warnings. `instance` is what operators call us."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler: logging.Handler
    if journal.is_connected():
        handler = journal.JournalHandler({"SYSLOG_IDENTIFIER": "mqvpn", "MQVPN_INSTANCE": instance})
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(Repeats(handler))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    set_level(level)
    # aioquic reports a peer's broken packets as warnings; they are counted here, not logged.
    logging.getLogger("quic").setLevel(logging.ERROR)


def set_level(level: str) -> None:
    """From which level on our own messages are logged."""
    logging.getLogger("mqvpn").setLevel(LEVELS[level])
