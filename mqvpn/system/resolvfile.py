"""/etc/resolv.conf with our name servers in it, and the former one put back, whoever dies when (resolv.conf(5)).

What was there is saved and synced before anything changes. Back it comes only over what we wrote: what another
program put there meanwhile is his. The file is replaced whole, a link by a file and back; only where it is a mount
of its own (EBUSY), as in containers, it is written in place. Several instances may want it: the last one's counts.
"""

import errno
import json
import logging
import os
import stat
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mqvpn.system import durable
from mqvpn.system.dns import ETC, LinkDns
from mqvpn.system.errors import OperationFailed, refused

log = logging.getLogger(__name__)

MARKER = "# Written by mqvpn, which puts the former file back when its tunnel ends, unless this one is changed."
MAX_FILE = 1 << 20
HINTS = {
    errno.EROFS: "the file system is read-only here: run mqvpn-dns.socket, or say DNSMode = none",
    errno.EPERM: "is it immutable (lsattr)? Else run mqvpn-dns.socket, or say DNSMode = none",
    errno.EACCES: "run it as root or with mqvpn-dns.socket, or say DNSMode = none",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at a path: kind is "file", "link" (`text` is its target) or "absent". Bytes are latin-1 here."""

    kind: str
    text: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """What is to be put back, each text that may be ours now, and what each instance wants, the newest last."""

    original: Place
    ours: tuple[str, ...] = ()
    wishes: dict[str, str] = field(default_factory=dict)

    def is_ours(self, now: Place) -> bool:
        """Whether we wrote what stands there. A write in place that was cut short ends in the older text's rest."""
        if now.kind != "file":
            return False
        known = (*self.ours, self.original.text) if self.original.kind == "file" else self.ours
        torn = (new + old[len(new) :] for new in known for old in known if len(old) > len(new))
        return now.text in self.ours or now.text in torn

    def is_back(self, now: Place) -> bool:
        """Whether the former text is there again, perhaps with another time because a death came between."""
        return now.kind == self.original.kind == "file" and now.text == self.original.text


class ResolvFile:
    """The file at `path`; `state` is a directory of ours that survives a reboot. The caller holds a lock."""

    def __init__(self, state: Path, path: Path = ETC / "resolv.conf") -> None:
        self._path = path
        self._saved = state / "resolv.conf.json"

    def apply(self, instance: str, dns: LinkDns) -> None:
        """Write the name servers there. Raises OperationFailed."""
        self._clean()
        now = self._look()
        saved = self._load()
        if saved is None or not saved.is_ours(now):
            saved = Saved(saved.original if saved is not None and saved.is_back(now) else now)
        text = f"{MARKER}\n{dns.resolv_conf()}"
        others = {name: wish for name, wish in saved.wishes.items() if name != instance}
        self._bring(replace(saved, wishes=others | {instance: text}), text)

    def restore(self, instance: str | None) -> bool:
        """Put back what was there before `instance` (None: before all) came; False if another program wrote there
        meanwhile, and its text was left. Raises OperationFailed."""
        self._clean()
        saved = self._load()
        if saved is None:
            return True
        now = self._look()
        wishes = {} if instance is None else {name: w for name, w in saved.wishes.items() if name != instance}
        ours, back = saved.is_ours(now), saved.is_back(now)
        if wishes and ours and not back:
            self._bring(replace(saved, wishes=wishes), list(wishes.values())[-1])
        elif wishes and not back:
            self._save(replace(saved, wishes=wishes))
        else:
            if now != saved.original and (ours or back):
                self._write(saved.original)
            self._save(None)
        return ours or back or now == saved.original

    def _bring(self, saved: Saved, text: str) -> None:
        """Write our text; until it is there, the former one is ours too."""
        self._save(replace(saved, ours=(*saved.ours, text)))
        self._write(Place("file", text))
        self._save(replace(saved, ours=(text,)))

    def _look(self) -> Place:
        try:
            status = os.lstat(self._path)
            if stat.S_ISLNK(status.st_mode):
                return Place("link", os.fsencode(os.readlink(self._path)).decode("latin-1"))
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
                raise OperationFailed(f"read {self._path}", "this is no file of that kind", "look what it is (ls -l)")
            text = self._path.read_bytes().decode("latin-1")
        except FileNotFoundError:
            return Place("absent")
        except OSError as error:
            raise _refused(f"read {self._path}", error) from error
        return Place("file", text, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)

    def _write(self, place: Place) -> None:
        try:
            if place.kind == "absent":
                durable.remove(self._path)
            elif place.kind == "link":
                durable.replace_by_link(self._path, os.fsdecode(place.text.encode("latin-1")))
            else:
                self._write_file(place)
        except OSError as error:
            raise _refused(f"write {self._path}", error) from error

    def _write_file(self, place: Place) -> None:
        content, owner = place.text.encode("latin-1"), (place.uid, place.gid)
        try:
            durable.replace(self._path, content, mode=place.mode, owner=owner, mtime_ns=place.mtime_ns)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _write_in_place(self._path, content, place.mtime_ns)

    def _clean(self) -> None:
        try:
            durable.clean(self._path)
            durable.clean(self._saved)
        except OSError as error:
            raise _refused(f"write {self._path}", error) from error

    def _load(self) -> Saved | None:
        try:
            fields: dict[str, Any] = json.loads(self._saved.read_bytes())
            return Saved(Place(**fields["original"]), tuple(fields["ours"]), dict(fields["wishes"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise OperationFailed(
                f"read {self._saved}", str(error), f"repair {self._path} by hand, and remove this file"
            ) from error

    def _save(self, saved: Saved | None) -> None:
        try:
            if saved is None:
                durable.remove(self._saved)
            else:
                durable.replace(self._saved, json.dumps(asdict(saved)).encode(), mode=0o600)
        except OSError as error:
            raise refused(f"save the former {self._path}", error.errno or 0) from error


def marked(path: Path = ETC / "resolv.conf") -> bool:
    """Whether the file there is one of ours, or begins like one."""
    try:
        with path.open("rb") as file:
            return file.readline(len(MARKER) + 1).rstrip() == MARKER.encode()
    except OSError:
        return False


def _write_in_place(path: Path, content: bytes, mtime_ns: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(descriptor, len(content))
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(operation: str, error: OSError) -> OperationFailed:
    return refused(operation, error.errno or 0, HINTS.get(error.errno or 0, ""))
