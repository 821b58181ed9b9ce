"""Where a daemon's undo journal (system.undo) is: its runtime directory, or /run/mqvpn/NAME for one started by hand."""

import logging
import os
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.daemon import exit
from mqvpn.system.undo import JournalUnwritable, Undo

log = logging.getLogger(__name__)

RUN = Path("/run/mqvpn")
CLIENT, SERVER = "client-", "server"


class InUse(exit.Unusable):
    """Another daemon that runs has the same journal; `str()` says what to do. The end is CONFIG."""


def journal_of(settings: ClientSettings | ServerSettings) -> Undo:
    """The journal of this daemon, and of its predecessor, locked. Raises InUse, JournalUnwritable."""
    folder = place(CLIENT + settings.name if isinstance(settings, ClientSettings) else SERVER)
    if is_own() and not _can_make(folder):
        log.warning("%s cannot be made: if mqvpn is killed, nobody knows what there is to undo", folder)
        return Undo(None)
    undo = Undo(folder, passing=is_own())
    if not undo.lock():
        hint = "stop it, or give this one another TunName or RUNTIME_DIRECTORY"
        raise InUse(f"another mqvpn {settings.name} runs, with {folder}: {hint}")
    try:
        undo.prove()
    except JournalUnwritable:
        undo.close()
        raise
    return undo


def place(name: str) -> Path:
    """The directory of the journal of client-NAME or server; RUN if `name` is empty and nothing else tells."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(given) if given else RUN / name


def is_own() -> bool:
    """Whether the journal's directory is made, and removed, by us and not by systemd."""
    return "RUNTIME_DIRECTORY" not in os.environ


def _can_make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
