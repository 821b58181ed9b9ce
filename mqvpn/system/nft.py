"""nftables, by transactions of `nft -f -`: each is carried out whole or not at all.

nft is run as a program because libnftables' Python module is a Debian package alone, and this happens a few times a
day. No table but ours is ever touched.
"""

import errno
import os
import re
import subprocess

from mqvpn.system.errors import OperationFailed, refused

TIMEOUT = 10.0  # seconds; a transaction takes 20 ms
RIGHT = "run it as root or with CAP_NET_ADMIN"
WITHOUT = (os.strerror(errno.EPROTONOSUPPORT), os.strerror(errno.EOPNOTSUPP))  # what nft says without nf_tables


def table_name(kind: str, name: str) -> str:
    """The name of our table of this kind for an interface or instance, another one for each. nft takes letters, digits,
    `_`, `-`, `.` and `/`, and neither has a `/` in its name."""
    return f"{kind}_" + re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"/{ord(found[0]):02x}", name)


def without(table: str) -> str:
    """The start of a transaction that replaces or removes a table: made to exist, so that deleting it cannot fail."""
    return f"add table inet {table}\ndelete table inet {table}\n"


def transact(script: str, operation: str) -> None:
    """Carry the script out. Raises OperationFailed with nft's own words; everything is then as it was."""
    done = _run(["-f", "-"], script, operation)
    if done.returncode:
        raise OperationFailed(operation, _reason(done), f"{RIGHT}, on a kernel with nf_tables and NAT")


def remove(table: str, operation: str) -> None:
    """Remove a table, if it is there. Raises OperationFailed, also when it belongs to a process that lives."""
    if table not in tables():
        return
    done = _run(["delete", "table", "inet", table], "", operation)
    if done.returncode and table in tables():
        hint = "run it as root; what a client blocks that runs is lifted by stopping it (mqvpnctl down NAME)"
        raise OperationFailed(operation, _reason(done), hint)


def tables() -> list[str]:
    """The names of all tables of the family inet; a kernel without nf_tables has none. Raises OperationFailed: else who
    may not see a block would be told that there is none."""
    operation = "list the firewall's tables"
    done = _run(["list", "tables", "inet"], "", operation)
    if done.returncode and not any(reason in done.stderr for reason in WITHOUT):
        raise OperationFailed(operation, _reason(done), RIGHT)
    return [line.split()[2] for line in done.stdout.splitlines()]


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why it failed: a program that was killed says nothing."""
    return (done.stderr.strip() or f"nft ended with status {done.returncode}").splitlines()[0]


def _run(arguments: list[str], script: str, operation: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["nft", *arguments], input=script, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        hint = "install the package nftables"
        raise OperationFailed(operation, "there is no program nft", hint) from error
    except OSError as error:  # no descriptor or no memory for it now
        raise refused(f"run nft to {operation}", error.errno or 0) from error
    except subprocess.TimeoutExpired as error:
        hint = "see whether `nft list ruleset` works"
        raise OperationFailed(operation, f"nft did not end within {TIMEOUT:.0f} s", hint) from error
