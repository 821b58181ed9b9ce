"""What the user commands about the blocks of kill switches: one from boot on (mqvpn-lockdown.service), and none at all.

At boot nothing can be looked up and no daemon runs, so the files of the clients alone say what to block. One that
cannot be read is taken for one with the kill switch: who wants a lockdown rather has no network than an open one.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.load import instance_of, load, tun_name
from mqvpn.daemon.killswitch import block_of
from mqvpn.system import block, unit
from mqvpn.system.block import Block
from mqvpn.system.errors import refused
from mqvpn.system.routing import MARK

FOLDER = Path("/etc/mqvpn")
# In the place of the key, which may be a credential that only the client's unit has.
UNREAD = {"auth_key": "unread"}


@dataclass(frozen=True, slots=True)
class Lockdown:
    """The names of the clients for which traffic is blocked, and what is wrong with their files."""

    clients: tuple[str, ...]
    problems: tuple[str, ...] = ()


def lock_down(name: str | None = None, folder: Path = FOLDER) -> Lockdown:
    """Block traffic until a client with the kill switch does, if there is one (`name`: if this one has it).

    Nothing is done while a client blocks it already. Raises OperationFailed, also when the folder may not be read: what
    the unit has put up before then stays.
    """
    with suppress(FileNotFoundError):
        _may_read(folder)
    files = sorted(folder.glob("client-*.conf") if name is None else (_file(name, folder),))
    found = [_read(file) for file in files if instance_of(file)]
    blocks = [wanted for wanted, _ in found if wanted is not None]
    if blocks and set(block.all_tables()) <= {block.table_of(block.LOCKDOWN)}:
        block.lock_down(blocks)
    elif not blocks and name is None:
        block.lift(block.LOCKDOWN)
    return Lockdown(tuple(one.name for one in blocks), tuple(problem for _, problem in found if problem))


def unblock(name: str | None, folder: Path = FOLDER) -> list[str] | None:
    """Lift the block of one client, and the lockdown if that was for it, too; or all. The tables that were there.

    None: the block is left as it is, for this is the ExecStop= of a unit that systemd is about to start again, or the
    machine goes down. Raises OperationFailed.
    """
    if unit.starts_again(unit.name()) or (unit.is_stopping() and unit.machine_stops()):
        return None
    if name is None:
        return block.lift_all()
    names = [name] if _read(_file(name, folder))[0] is None else [name, block.LOCKDOWN]
    lifted = [one for one in names if block.stands(one)]
    for one in lifted:
        block.lift(one)
    return [block.table_of(one) for one in lifted]


def _file(name: str, folder: Path) -> Path:
    return folder / f"client-{name}.conf"


def _may_read(folder: Path) -> None:
    """Else it would look like an empty one. Raises FileNotFoundError, OperationFailed."""
    try:
        os.listdir(f"{folder}/.")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(f"read {folder}", error.errno or 0, f"chgrp mqvpn {folder}; chmod 750 {folder}") from error


def _read(file: Path) -> tuple[Block | None, str]:
    """What the client with this file will block, and what is wrong with the file."""
    if not os.path.exists(file):  # False, too, for who may not look
        return None, ""
    try:
        settings = load(file, UNREAD, "client")
    except ConfigError as error:
        name = instance_of(file)
        return Block(name=name, tun=tun_name(name), mark=MARK), str(error)
    if isinstance(settings, ClientSettings) and settings.kill_switch:
        return block_of(settings), ""
    return None, ""
