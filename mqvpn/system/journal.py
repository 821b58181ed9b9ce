"""Log records for systemd's journal, with fields (systemd.journal-fields(7), Native Journal Protocol).

Used when standard error is connected to the journal anyway; a terminal, or another program's pipe, gets plain lines.
No packet waits long for the journal: what it has no room for, as it stands still behind a slow disk, say, is counted,
and that is told when it takes lines again.
"""

import array
import logging
import os
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
PATIENCE = 100_000  # microseconds for one line
PRIORITIES = ((logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"), (logging.DEBUG, "7"))  # syslog(3)


def is_connected(fd: int = 2) -> bool:
    """Whether a descriptor, standard error, leads to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encode(fields: Mapping[str, str]) -> bytes:
    """One entry. A value with line breaks goes with its length, so nobody's text can add a field."""
    parts = []
    for name, text in fields.items():
        value = text.encode(errors="backslashreplace")
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


class JournalHandler(logging.Handler):
    """Sends each record with `fields`, and those in the record's attribute `fields`."""

    def __init__(self, fields: Mapping[str, str], path: str = SOCKET) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))  # else logging.basicConfig() would set its own
        self._fields = dict(fields)
        self._path = path
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, PATIENCE))
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send it; an entry that the journal does not take is lost, like every line for a stderr that is closed."""
        try:
            if self._lost:
                self._send(encode(self._entry(self._complaint())))
                self._lost = 0
            self._send(encode(self._entry(record)))
        except BlockingIOError:
            self._lost += 1
        except Exception:  # as logging.Handler asks for
            self.handleError(record)

    def close(self) -> None:
        self._line.close()
        super().close()

    def _complaint(self) -> logging.LogRecord:
        text = f"the journal had no room for {self._lost} lines"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)

    def _entry(self, record: logging.LogRecord) -> dict[str, str]:
        entry = {
            "MESSAGE": self.format(record),
            "PRIORITY": next((priority for level, priority in PRIORITIES if record.levelno >= level), "7"),
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        return entry | self._fields | getattr(record, "fields", {})

    def _send(self, entry: bytes) -> None:
        flags = socket.MSG_DONTWAIT if self._lost else 0  # once it did not take one in time, nothing waits for it
        try:
            self._line.sendto(entry, flags, self._path)
        except BlockingIOError:
            raise
        except OSError:  # EMSGSIZE: larger entries go in a sealed file
            fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with open(fd, "wb") as file:
                file.write(entry)
                file.flush()
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                self._line.sendmsg([b""], rights, flags, self._path)
