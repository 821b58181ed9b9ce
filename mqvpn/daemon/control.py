"""The control socket: JSON lines in the shape of varlink (https://varlink.org), bounded in every direction.

A request is {"method": ..., "parameters": {...}} in one line, its answer {"parameters": {...}} or {"error": ...,
"parameters": {...}} with the same end of line: a newline, or varlink's NUL. Root, the daemon's own user and the
group mqvpn-admin may call everything, and have places of their own; other users read what concerns no other user.
Nothing here may stall packets: a call is short, its answer too, calls and connections are rationed, and a peer
that does not take its answer loses the connection.
"""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from mqvpn.daemon.accepting import Acceptor
from mqvpn.daemon.aside import aside
from mqvpn.daemon.tasks import Tasks
from mqvpn.system.unixsocket import Listener, Peer, peer

log = logging.getLogger(__name__)

ADMIN_GROUP = "mqvpn-admin"
INTERFACE = "mqvpn.Control"
VARLINK = "org.varlink.service"

END = re.compile(rb"[\n\0]")
TOO_LONG = b"\n"  # how an answer ends that has no request

Parameters = dict[str, Any]


class CallFailed(Exception):
    """The answer is this error. `error`: a name of our interface, or a full one."""

    def __init__(self, error: str, **parameters: Any) -> None:
        super().__init__(error)
        self.error = error if "." in error else f"{INTERFACE}.{error}"
        self.parameters = parameters


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does: an answer's parameters from a request's, at once or later; raises CallFailed."""

    call: Callable[[Parameters], Parameters | Awaitable[Parameters]]
    privileged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one class of peers: bytes, seconds, per second."""

    connections: int
    calls: float
    burst: int = 20
    request: int = 4096
    idle: float = 5.0  # until the next request is complete
    answer: float = 5.0  # until an answer is taken
    work: float = 60.0  # until an answer is made


ADMINS = Limits(connections=16, calls=200.0, burst=400)
OTHERS = Limits(connections=16, calls=20.0)
ACCEPTS = 100.0  # connections a second
LOOKUP = 2.0  # seconds until it is known who is in the group


class Pace:
    """Lets `rate` pass in a second, after `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._slack = burst * self._interval
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for a turn; in any case, let others run."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - self._slack) + self._interval
        await asyncio.sleep(max(0.0, self._next - now))


@dataclass(slots=True)
class Class:
    """Peers that share their limits."""

    limits: Limits
    pace: Pace = field(init=False)
    connections: int = 0

    def __post_init__(self) -> None:
        self.pace = Pace(self.limits.calls, self.limits.burst)


class Control:
    """Answers calls of `methods` (by full name) on `listener` while it is entered; the listener, if there is any, stays
    the caller's."""

    def __init__(
        self,
        listener: Listener | None,
        methods: Mapping[str, Method],
        *,
        admins: Limits = ADMINS,
        others: Limits = OTHERS,
    ) -> None:
        self._listener = listener
        self._methods = methods
        self._classes = {True: Class(admins), False: Class(others)}
        self._looking = asyncio.Lock()
        self._tasks = Tasks("control socket")

    def __enter__(self) -> Self:
        if self._listener is not None:
            self._tasks.start(self._accept(self._listener.socket))
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        acceptor = Acceptor(listening, "control socket")
        pace = Pace(ACCEPTS, self._classes[True].limits.connections)
        while True:
            await pace.turn()
            self._tasks.start(self._serve(await acceptor.next()))

    async def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, TimeoutError):
            connection.setblocking(False)
            caller = peer(connection)
            admin = await self._may_change(caller)
            kind = self._classes[admin]
            if kind.connections >= kind.limits.connections:
                await _send(connection, _failure(CallFailed("TooManyConnections")), TOO_LONG, kind.limits)
                return
            kind.connections += 1
            try:
                await self._converse(connection, kind, admin)
            finally:
                kind.connections -= 1

    async def _may_change(self, caller: Peer) -> bool:
        """Whether it may call everything. What number the group has may be for a server somewhere to say (nss), so that
        is asked beside the loop; who cannot be told in time is none of the group."""
        if caller.uid in (0, os.geteuid()):
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP), self._looking:
                return await aside(lambda: caller.is_member(ADMIN_GROUP), "group")
        return False

    async def _converse(self, connection: socket.socket, kind: Class, admin: bool) -> None:
        buffer = b""
        while True:
            async with asyncio.timeout(kind.limits.idle):
                line, end, buffer = await _read(connection, buffer, kind.limits.request)
            if not end:
                if line:
                    answer = _failure(CallFailed("BadRequest", reason=f"longer than {kind.limits.request} bytes"))
                    await _send(connection, answer, TOO_LONG, kind.limits)
                return
            await kind.pace.turn()
            async with asyncio.timeout(kind.limits.work):
                reply = await self._answer(line, admin)
            if reply is not None:
                await _send(connection, reply, end, kind.limits)

    async def _answer(self, line: bytes, admin: bool) -> Parameters | None:
        """The answer to a request; None: it wants none."""
        oneway = False
        try:
            name, parameters, oneway = _request(line)
            answer: Parameters = {"parameters": await self._call(name, parameters, admin)}
        except CallFailed as failed:
            answer = _failure(failed)
        except Exception as error:  # a bug: it must not cost the daemon its packets
            log.warning("control socket: internal error: %r", error)
            log.debug("where it happened", exc_info=True)
            answer = _failure(CallFailed("InternalError"))
        return None if oneway else answer

    async def _call(self, name: str, parameters: Parameters, admin: bool) -> Parameters:
        method = self._methods.get(name)
        if method is None:
            raise CallFailed(f"{VARLINK}.MethodNotFound", method=name)
        if method.privileged and not admin:
            raise CallFailed("PermissionDenied", group=ADMIN_GROUP)
        result = method.call(parameters)
        return await result if isinstance(result, Awaitable) else result


def _request(line: bytes) -> tuple[str, Parameters, bool]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise CallFailed("BadRequest", reason="not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise CallFailed("BadRequest", reason='{"method": NAME, "parameters": {...}} is expected')
    parameters = request.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise CallFailed(f"{VARLINK}.InvalidParameter", parameter="parameters")
    return request["method"], parameters, request.get("oneway") is True


def _failure(failed: CallFailed) -> Parameters:
    return {"error": failed.error, "parameters": failed.parameters}


async def _read(connection: socket.socket, buffer: bytes, limit: int) -> tuple[bytes, bytes, bytes]:
    """A request, its end, and what came behind it; no end: the peer closed, or its request is too long."""
    while not (end := END.search(buffer)):
        if len(buffer) > limit:
            return buffer, b"", b""
        more = await asyncio.get_running_loop().sock_recv(connection, limit)
        if not more:
            return b"", b"", b""
        buffer += more
    if end.start() > limit:
        return buffer, b"", b""
    return buffer[: end.start()], end[0], buffer[end.end() :]


async def _send(connection: socket.socket, answer: Parameters, end: bytes, limits: Limits) -> None:
    data = json.dumps(answer, separators=(",", ":")).encode() + end
    async with asyncio.timeout(limits.answer):
        await asyncio.get_running_loop().sock_sendall(connection, data)
