"""The undo journal: what one instance has changed on this machine, written down before each change.

It is a file in a directory that a reboot empties, as the kernel forgets all of this too, and it is replaced whole. Who
comes after a death, the next start or --clean-up, goes on from it, whatever the configuration says by then. What a
reboot does not undo, /etc/resolv.conf, is noted in a state directory (resolvfile.py, resolvconf.py).
"""

import contextlib
import dataclasses
import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mqvpn.system import durable, namespace
from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed, is_exhaustion, refused
from mqvpn.system.routing import Slot

log = logging.getLogger(__name__)

FILE = "undo.json"
MAX_SIZE = 1 << 20  # bytes
LEAST_ROOM = 4096  # bytes
PATIENCE = 2.0  # seconds that a predecessor may take to end


@dataclass(frozen=True, slots=True)
class Change:
    """A kernel setting as it was before our first write, and as our last write left it."""

    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """How a persistent TUN device of somebody else was before we used it (link.TunLink)."""

    name: str
    mtu: int
    addresses: tuple[str, ...]
    up: bool
    queue: int
    gso_max_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What there is to undo: our routes and rules, the server's firewall tables, the client whose kill switch stands,
    the client that set the DNS in a file, the machine's own name servers if a client set the DNS in any way, kernel
    settings by their names, and a TUN device that is not ours."""

    slot: Slot | None = None
    tables: tuple[str, ...] = ()
    block: str = ""
    dns: str = ""
    former: tuple[str, ...] | None = None
    sysctls: Mapping[str, Change] = field(default_factory=dict)
    lent: Lent | None = None


NOTHING = Record()


class JournalUnwritable(OperationFailed):
    """The journal cannot be written, so nothing may be changed."""


class Undo:
    """The journal in `directory`, which is made if need be; None: it lasts as long as the process. close() it.
    Raises OperationFailed without a file descriptor to read it.

    `passing`: the directory is nobody else's, and close() removes it if nothing is left to undo.
    """

    def __init__(self, directory: Path | None, *, passing: bool = False) -> None:
        self._file = directory / FILE if directory is not None else None
        self._passing = passing
        self._lock = -1
        self._namespace = namespace.identity()
        self.record = NOTHING
        try:
            self.record = self._load(self._file) if self._file is not None else NOTHING
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if is_exhaustion(error):  # what it holds would be lost with the next note()
                raise refused(f"read {self._file}", errno.EMFILE) from error
            log.warning("%s: what was changed before is not known: %s", self._file, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what lock() took; the record stays."""
        if self._lock >= 0:
            if self._passing and self._file is not None:
                with contextlib.suppress(OSError):  # it is not empty
                    self._file.parent.rmdir()
            os.close(self._lock)
            self._lock = -1

    def lock(self) -> bool:
        """Whether this process is the only one with this journal from now on. Raises JournalUnwritable."""
        if self._file is None or self._lock >= 0:
            return True
        try:
            self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            handle = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unwritable(error) from error
        if not namespace.lock(handle, PATIENCE):
            os.close(handle)
            return False
        self._lock = handle
        return True

    def prove(self) -> None:
        """Find out whether there is room for the journal, before the first change. Raises JournalUnwritable."""
        try:
            if self._file is not None:
                durable.prove(self._file, LEAST_ROOM)
        except OSError as error:
            raise self._unwritable(error) from error

    def note(self, **changes: Any) -> None:
        """Set these fields of the record. Raises JournalUnwritable; the old record then stands."""
        record = dataclasses.replace(self.record, **changes)
        if record == self.record:
            return
        if self._file is not None:
            try:
                self._write(self._file, record)
            except OSError as error:
                raise self._unwritable(error) from error
        self.record = record

    def done(self, *fields: str) -> None:
        """These are undone: nothing of them is left in the record. A failure to note that is logged; the file goes when
        all is undone, for which a full disk has room."""
        undone = {name: getattr(NOTHING, name) for name in fields}
        try:
            self.note(**undone)
        except JournalUnwritable as error:
            log.warning("%s", error)
            self.record = dataclasses.replace(self.record, **undone)

    def others(self) -> list[Record]:
        """The records of the other instances in this network namespace. Raises OperationFailed."""
        if self._file is None:
            return []
        try:
            files = [self._file.parent.parent / name / FILE for name in sorted(os.listdir(self._file.parent.parent))]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused("look for what other instances have changed", error.errno or 0) from error
        found = []
        for file in files:
            if file != self._file:
                try:
                    found.append(self._load(file))
                except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                    if is_exhaustion(error):
                        raise refused(f"read {file}", errno.EMFILE) from error
                    log.debug("%s: %s", file, error)
        return found

    def _load(self, file: Path) -> Record:
        try:
            with file.open("rb") as opened:
                value = json.loads(opened.read(MAX_SIZE))
        except (FileNotFoundError, NotADirectoryError):
            return NOTHING
        if value["namespace"] != self._namespace:
            return NOTHING
        return decode(value)

    def _write(self, file: Path, record: Record) -> None:
        if record == NOTHING:
            if file.exists():
                durable.remove(file)
            return
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        value = {"namespace": self._namespace} | dataclasses.asdict(record)
        with change("journal"):
            durable.replace(file, json.dumps(value).encode())

    def _unwritable(self, error: OSError) -> JournalUnwritable:
        code = error.errno or errno.EIO
        hint = "make room there, or run it where it can write"
        return JournalUnwritable(f"note in {self._file} what is to be undone", os.strerror(code), hint, code)


def decode(value: Mapping[str, Any]) -> Record:
    """The record in the file's JSON value. Raises ValueError, TypeError, KeyError or AttributeError."""
    slot = value["slot"]
    lent, former = value.get("lent"), value.get("former")  # which former versions did not note
    return Record(
        slot=Slot(int(slot["number"]), int(slot["table"])) if slot is not None else None,
        tables=tuple(str(table) for table in value["tables"]),
        block=str(value["block"]),
        dns=str(value["dns"]),
        former=tuple(str(server) for server in former) if former is not None else None,
        sysctls={str(n): Change(str(c["before"]), str(c["after"])) for n, c in value["sysctls"].items()},
        lent=_lent(lent) if lent is not None else None,
    )


def _lent(value: Mapping[str, Any]) -> Lent:
    return Lent(
        name=str(value["name"]),
        mtu=int(value["mtu"]),
        addresses=tuple(str(address) for address in value["addresses"]),
        up=bool(value["up"]),
        queue=int(value["queue"]),
        gso_max_size=int(value["gso_max_size"]),
    )
