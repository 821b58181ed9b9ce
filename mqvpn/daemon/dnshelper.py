"""mqvpn-dns: the part of the client's DNS that writes below /etc, as root, beside the client's sandbox.

systemd starts it for each connection to mqvpn-dns.socket, which only root and the user mqvpn may open, and the
request comes on standard input; a client that is root itself starts it directly. It ends after one answer. What it
changed is noted in its state directory, which outlives it, the client and a reboot.
"""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from mqvpn.system.dnsrequest import MAX_LINE, Answer, Request, decode, decode_answer
from mqvpn.system.errors import OperationFailed, refused
from mqvpn.system.resolvconf import Resolvconf, find
from mqvpn.system.resolvfile import ResolvFile

STATE = Path("/var/lib/mqvpn-dns")
SOCKET = "/run/mqvpn/dns.sock"
LIMIT = 30.0  # seconds for one request
LEFT = "another program wrote /etc/resolv.conf meanwhile, so it is left as it is"


def serve() -> int:
    """Answer the request on standard input; returns the exit status."""
    line = sys.stdin.buffer.readline(MAX_LINE + 1)
    try:
        answer = perform(decode(line))
    except ValueError as error:
        answer = Answer(error=f"refused: {error}")
    for text in (answer.note, answer.error):
        if text:
            print(text, file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):  # the client was killed: its next start takes the DNS back
        sys.stdout.buffer.write(answer.encode())
        sys.stdout.buffer.flush()
    return 0


def restore(instance: str | None) -> int:
    """Take back what an instance (None: any) changed, and say what went wrong; returns the exit status."""
    answer = take_back(instance)
    if answer.note or answer.error:
        print(answer.error or answer.note, file=sys.stderr)
    return 1 if answer.error else 0


def take_back(instance: str | None) -> Answer:
    """The same, by asking the root part if this is not root."""
    try:
        if instance is not None and not may_write():
            return _ask(Request("restore", instance))
        return _restored(instance)
    except OperationFailed as error:
        return Answer(error=str(error))


def perform(request: Request, state: Path = STATE) -> Answer:
    """Do what is asked."""
    try:
        if request.dns is None:
            return _restored(request.instance, state)
        with _locked(state):
            file, program = ResolvFile(state), Resolvconf(state)
            if request.mode == "resolvconf" or (request.mode == "auto" and find()):
                file.restore(request.instance)
                program.apply(request.instance, request.interface, request.dns)
                return Answer(by="resolvconf")
            program.restore(request.instance)
            file.apply(request.instance, request.dns)
            return Answer(by="file")
    except OperationFailed as error:
        return Answer(error=str(error))


def may_write() -> bool:
    """Whether this process may replace files in /etc: not under ProtectSystem=strict, for one."""
    return os.access("/etc", os.W_OK)


def _restored(instance: str | None, state: Path = STATE) -> Answer:
    with _locked(state):
        try:
            Resolvconf(state).restore(instance)
        finally:
            untouched = ResolvFile(state).restore(instance)
    return Answer(note="" if untouched else LEFT)


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One at a time. Raises OperationFailed."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise refused(f"use {state}", error.errno or 0, "run it as root, or by mqvpn-dns.socket") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _ask(request: Request) -> Answer:
    """Ask the root part, and wait for it."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT)
            connection.connect(SOCKET)
            connection.sendall(request.encode())
            with connection.makefile("rb") as answer:
                return decode_answer(answer.readline(MAX_LINE))
    except (OSError, ValueError) as error:
        raise OperationFailed(
            f"ask {SOCKET}", str(error), "start mqvpn-dns.socket, or run this as root"
        ) from error
