"""Whether a QUIC server answers at an address through an interface, found out without any key.

By a question that every server answers (wire.question). All targets are asked at once.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from mqvpn.wire.question import DATAGRAM, Question

AGAIN = (0.0, 0.5, 1.0)  # seconds after the start
TIMEOUT = 2.0

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address, through `interface` ("": the kernel's choice)."""

    interface: str
    server: Endpoint


@dataclass(slots=True)
class Outcome:
    """How it went: seconds until the answer, or the errno of what came instead; neither: no answer."""

    rtt: float | None = None
    error: int = 0

    @property
    def done(self) -> bool:
        return self.rtt is not None or self.error != 0


@dataclass(slots=True)
class _Probe:
    udp: socket.socket
    question: Question = field(default_factory=Question)
    sent_at: float = 0.0

    def send(self) -> None:
        self.sent_at = time.monotonic()
        self.udp.send(self.question.write())


def probe(targets: Iterable[Target], mark: int | None, timeout: float = TIMEOUT) -> dict[Target, Outcome]:
    """Ask every target; `mark` keeps the packets out of the tunnel. Takes `timeout` seconds if one does not answer."""
    outcomes = {target: Outcome() for target in targets}
    probes: dict[Target, _Probe] = {}
    try:
        for target, outcome in outcomes.items():
            try:
                probes[target] = _open(target, mark)
            except OSError as error:
                outcome.error = error.errno or errno.EIO
        _run(probes, outcomes, timeout)
    finally:
        for one in probes.values():
            one.udp.close()
    return outcomes


def explain(outcome: Outcome) -> str:
    """What the errno means here."""
    return EXPLANATIONS.get(outcome.error, os.strerror(outcome.error))


EXPLANATIONS = {
    errno.ECONNREFUSED: "nobody listens there",
    errno.EPERM: "a firewall of this machine does not let it out",
    errno.EACCES: "a firewall of this machine does not let it out",
    errno.EHOSTUNREACH: "a router on the way does not reach it",
    errno.ENETUNREACH: "there is no route",
    errno.EMSGSIZE: f"not even {DATAGRAM} bytes fit through",
}


def _open(target: Target, mark: int | None) -> _Probe:
    family = socket.AF_INET6 if ":" in target.server[0] else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if target.interface:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, target.interface.encode() + b"\0")
        if mark is not None:
            with suppress(PermissionError):  # without the tunnel's routes it makes no difference
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        udp.connect(target.server)
    except OSError:
        udp.close()
        raise
    return _Probe(udp)


def _run(probes: dict[Target, _Probe], outcomes: dict[Target, Outcome], timeout: float) -> None:
    start, rounds = time.monotonic(), list(AGAIN)
    end = start + timeout
    while time.monotonic() < end:
        waiting = [target for target in probes if not outcomes[target].done]
        if not waiting:
            return
        if rounds and time.monotonic() >= start + rounds[0]:
            rounds.pop(0)
            for target in waiting:
                with _noting(outcomes[target]):
                    probes[target].send()
        sockets = {probes[target].udp: target for target in waiting}
        until = min(end, start + rounds[0]) if rounds else end
        for ready in select.select(list(sockets), [], [], max(0.0, until - time.monotonic()))[0]:
            with _noting(outcomes[sockets[ready]]):
                _take(probes[sockets[ready]], outcomes[sockets[ready]])


def _take(one: _Probe, outcome: Outcome) -> None:
    if one.question.is_answer(one.udp.recv(2048)):
        outcome.rtt = time.monotonic() - one.sent_at


@contextmanager
def _noting(outcome: Outcome) -> Iterator[None]:
    """Keep the errno of what the block raises, except that nothing is there to read."""
    try:
        yield
    except BlockingIOError:
        pass
    except OSError as error:
        outcome.error = error.errno or errno.EIO
