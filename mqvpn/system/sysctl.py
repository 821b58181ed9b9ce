"""Kernel settings below /proc/sys, each put back to what it was (ip-sysctl of the kernel's documentation).

Two of them change others when written: net/ipv4/ip_forward and net/ipv6/conf/all/forwarding switch every
interface, so those are remembered too. A value that somebody else changes meanwhile is his, and is left
alone. Names are paths, as interface names may hold dots.

What is to be put back is noted in the undo journal before each change, and the next Sysctls with that journal goes on
from there. A setting that several instances on this machine need is put back by the last of them.
"""

import logging
import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Self

from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed, is_exhaustion, refused
from mqvpn.system.undo import Change, JournalUnwritable, Undo

log = logging.getLogger(__name__)

PROC_SYS = Path("/proc/sys")
IPV4_FORWARD = "net/ipv4/ip_forward"
IPV6_FORWARD = "net/ipv6/conf/all/forwarding"
ACCEPT_RA = "net/ipv6/conf/*/accept_ra"
ACCEPT_RA_OF_NEW = "net/ipv6/conf/default/accept_ra"  # what interfaces that appear begin with
SIDE_EFFECTS = {
    IPV4_FORWARD: ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects"),
    IPV6_FORWARD: ("net/ipv6/conf/*/forwarding",),
    ACCEPT_RA_OF_NEW: (ACCEPT_RA,),  # none, but so the journal knows which interfaces are not new
}


class Sysctls:
    """The settings that we changed; leaving the context, or restore(), puts them back."""

    def __init__(self, root: Path = PROC_SYS, undo: Undo | None = None) -> None:
        self._root = root
        self._undo = undo or Undo(None)
        self._changes = dict(self._undo.record.sysctls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def forward(self, versions: Iterable[int], tun: str) -> None:
        """Make this host a router for these IP versions; may be called again. Raises OperationFailed.

        A router ignores router advertisements and forgets the default route it has from one, unless accept_ra
        is 2: so interfaces other than `tun` that listen to them go on to, and those that appear later will.
        """
        if 4 in versions:
            self._set(IPV4_FORWARD, "1")
        if 6 in versions and self._read(IPV6_FORWARD) != "1":
            for name in sorted(self._find(ACCEPT_RA), key=lambda name: name == ACCEPT_RA_OF_NEW):
                interface = Path(name).parent
                listens = self._read(name) == "1" and self._read(f"{interface}/forwarding") == "0"
                if listens and interface.name not in ("all", "lo", tun):
                    self._set(name, "2")
            self._set(IPV6_FORWARD, "1")

    def loosen_rp_filter(self, interface: str) -> None:
        """Let replies in on `interface` even when the best route to their source leaves by another (RFC
        3704).

        The kernel obeys the larger of the values for `all` and for the interface: strict is 1, loose 2, off
        0.
        """
        name = f"net/ipv4/conf/{interface}/rp_filter"
        values = (self._read("net/ipv4/conf/all/rp_filter"), self._read(name))
        if "1" in values and "2" not in values:
            self._set(name, "2")
        else:
            self._share(name)

    def restore(self) -> bool:
        """Put everything back, first what changes other values; whether that went well. What cannot be put back is
        logged, and stays in the journal."""
        try:
            needed = {name for other in self._undo.others() for name in other.sysctls}
            self._remember_new(needed)
            ours = [n for n, made in self._changes.items() if n not in needed and self._read(n) == made.after]
        except OperationFailed as error:
            log.warning("%s", error)
            return False
        ours.sort(key=lambda name: name not in SIDE_EFFECTS)
        left = {name: self._changes[name] for name in ours if not self._put_back(name, self._changes[name].before)}
        self._changes = left
        if not left:
            self._undo.done("sysctls")
            return True
        try:
            self._undo.note(sysctls=left)
        except JournalUnwritable as error:  # all stay in it, which does no harm
            log.warning("%s", error)
        return False

    def _put_back(self, name: str, before: str) -> bool:
        """Whether it is so now; an interface that has gone took its settings along."""
        try:
            if self._read(name) not in (None, before):
                with change("sysctl-back"):
                    self._write(name, before)
                log.info("put %s back to %s", name, before)
        except OperationFailed as error:
            log.warning("%s", error)
            return False
        return True

    def _remember_new(self, needed: Container[str]) -> None:
        """Interfaces that have appeared since have their accept_ra from us."""
        made = self._changes.get(ACCEPT_RA_OF_NEW)
        if made is None or made.before == made.after or ACCEPT_RA_OF_NEW in needed:
            return
        for name in self._find(ACCEPT_RA):
            self._changes.setdefault(name, made)

    def _set(self, name: str, value: str) -> None:
        before = {name: self._read(name) for name in (name, *self._affected(name))}
        if before[name] == value:
            self._share(name)
            return
        for affected, was in before.items():
            if was is not None:
                first = self._changes.get(affected, Change(was, was)).before
                self._changes[affected] = Change(first, value if affected == name else was)
        self._undo.note(sysctls=dict(self._changes))
        with change("sysctl"):
            self._write(name, value)
        log.info("set %s to %s (was %s)", name, value, before[name])
        for affected, was in before.items():
            now = self._read(affected)
            if was is not None and now is not None:
                self._changes[affected] = Change(self._changes[affected].before, now)
        self._undo.note(sysctls=dict(self._changes))

    def _share(self, name: str) -> None:
        """It is as we need it: if another instance made it so, we have our part in what that one changed."""
        for other in self._undo.others():
            if name in other.sysctls and name not in self._changes:
                self._changes = dict(other.sysctls) | self._changes
                self._undo.note(sysctls=dict(self._changes))

    def _affected(self, name: str) -> list[str]:
        return [found for pattern in SIDE_EFFECTS.get(name, ()) for found in self._find(pattern)]

    def _find(self, pattern: str) -> list[str]:
        """The settings that there are. Raises OperationFailed without a descriptor to look for them."""
        folder, star, setting = pattern.partition("/*/")
        try:
            names = os.listdir(self._root / folder) if star else []
        except OSError as error:
            if is_exhaustion(error):
                raise refused(f"look for {pattern}", error.errno or 0) from error
            return []
        found = [f"{folder}/{name}/{setting}" for name in sorted(names)] if star else [pattern]
        return [name for name in found if (self._root / name).exists()]

    def _read(self, name: str) -> str | None:
        """The value; None when there is no such setting (any more). Raises OperationFailed without a descriptor for it:
        that says nothing about the setting."""
        try:
            return (self._root / name).read_text().strip()
        except OSError as error:
            if is_exhaustion(error):
                raise refused(f"read {name}", error.errno or 0) from error
            return None

    def _write(self, name: str, value: str) -> None:
        try:
            (self._root / name).write_text(value)
        except OSError as error:
            hint = f"set {name} = {value} in /etc/sysctl.d, run `sysctl --system` and start again"
            raise refused(f"set {name} to {value}", error.errno or 0, hint) from error
