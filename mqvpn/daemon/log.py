"""Log lines for stderr: `LEVEL message`. The journal, or who else reads stderr, adds time and program."""

import logging

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def log_to_stderr(level: str) -> None:
    """Log our own messages from `level` on; of the libraries only warnings."""
    logging.addLevelName(logging.WARNING, "WARN")
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("mqvpn").setLevel(LEVELS[level])
    # aioquic reports a peer's broken packets as warnings; they are counted here, not logged.
    logging.getLogger("quic").setLevel(logging.ERROR)
