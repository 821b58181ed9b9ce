"""The client's DNS: chosen and checked at start, set when the tunnel is first up, kept through reconnects, taken back.

systemd-resolved is told over D-Bus if it answers this machine's lookups; else mqvpn-dns writes /etc/resolv.conf or
calls resolvconf. A successor takes it over, and asks the name servers that the machine had before where the server is,
for those in the tunnel cannot be asked yet. What the journal does not tell of, or is not wanted this way any more, is
taken back first. (A DNS_ASSIGN capsule of the server would join the settings in wanted().)
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, Self

import mqvpn
from mqvpn.config.client import ClientSettings
from mqvpn.daemon import exit
from mqvpn.daemon.dnshelper import LIMIT, SOCKET, may_write
from mqvpn.daemon.later import AGAIN
from mqvpn.daemon.tasks import begin
from mqvpn.system import stub
from mqvpn.system.change import change
from mqvpn.system.dns import LinkDns, resolved_is_asked
from mqvpn.system.dnsrequest import MAX_LINE, Answer, Request, decode_answer
from mqvpn.system.errors import OperationFailed, is_exhaustion, refused
from mqvpn.system.resolvfile import marked
from mqvpn.system.undo import Record, Undo

log = logging.getLogger(__name__)

LOOK_INTERVAL = 5.0  # seconds between two looks at /etc/resolv.conf
OVERWRITTEN = "another program wrote /etc/resolv.conf, and its name servers count; restart mqvpn to set ours again"
NO_ROOT_PART = "systemctl enable --now mqvpn-dns.socket, or run it as root, or say DNSMode = none"


class Keeper(Protocol):
    """Who holds the DNS of the link: `problem` is empty while it is in effect."""

    problem: str

    async def start(self) -> None: ...
    def refresh(self) -> None: ...
    async def stop(self, *, leave: bool) -> None: ...
    async def take_back(self) -> None: ...


class Dns:
    """The DNS that the settings want, for the TUN `interface`; entering it raises OperationFailed.

    `succeeded` says at the end whether another process takes over: then it is left as it is.
    """

    def __init__(
        self,
        settings: ClientSettings,
        interface: str,
        stop: Callable[[int], None],
        undo: Undo,
        succeeded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._dns = wanted(settings)
        self._mode = settings.dns_mode
        self._interface = interface
        self._instance = settings.instance or interface
        self._stop = stop
        self._undo = undo
        self._succeeded = succeeded
        self._keeper: Keeper | None = None
        self._starting: asyncio.Task[None] | None = None
        self._in_effect = False
        self._inherited = False  # that of a predecessor is still in effect
        self._former: list[str] = []

    async def __aenter__(self) -> Self:
        left = self._undo.record
        if self._dns is None or left.former is None:
            await self._take_back(left)
        if self._dns is not None:
            self._keeper = await self._choose(self._dns)
            await self._take_over(self._keeper)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._keeper is not None and (self._starting is not None or self._inherited):
            leave = self._succeeded()
            await self._keeper.stop(leave=leave)
            if not leave:
                self._undo.done("former")

    def tunnel_up(self, ready: Callable[[], None]) -> None:
        """Set the DNS if that has not been done, and call `ready` when it is in effect; a failure stops the daemon,
        but for the want of a file descriptor, which is waited for."""
        if self._keeper is None:
            ready()
        elif self._starting is None:
            self._starting = begin(self._start(self._keeper, ready), "setting the DNS")
        elif self._in_effect:
            self._keeper.refresh()
            ready()

    def others(self) -> list[str]:
        """The machine's own name servers while those in the tunnel are set; who is in the tunnel cannot tell where its
        server is when it is down."""
        if self._inherited:
            return self._former
        if not self._in_effect or self._dns is None:
            return []
        ours = {str(address) for address in self._dns.servers}
        return [server for server in stub.name_servers() if server not in ours] or self._former

    def status(self) -> dict[str, Any] | None:
        """Who holds it, whether it is in effect, and what is wrong with it; None if DNS is left alone."""
        if self._keeper is None:
            return None
        in_effect = self._in_effect and not self._keeper.problem
        return {"by": str(self._keeper), "in_effect": in_effect, "problem": self._keeper.problem or None}

    def describe(self) -> str:
        """What the status line says about it: nothing, as long as it is in effect."""
        problem = self._keeper.problem if self._keeper is not None else ""
        return f"; DNS: {problem}" if problem else ""

    async def _take_over(self, keeper: Keeper) -> None:
        """Leave what a predecessor set until the tunnel is up, if this keeper is of its kind; else take it back."""
        left = self._undo.record
        if left.former is not None and isinstance(keeper, Files) == bool(left.dns):
            self._inherited, self._former = True, list(left.former)
            return
        await self._take_back(left)
        await keeper.take_back()
        self._former = stub.name_servers()

    async def _take_back(self, left: Record) -> None:
        """What a predecessor left, by its journal or by the look of the file."""
        try:
            if left.dns or marked():
                await ask(Request("restore", left.dns or self._instance))
            elif left.former is not None:
                from mqvpn.system import resolved

                await resolved.revert(self._interface)
            self._undo.done("dns", "former")
        except OperationFailed as error:
            log.warning("the DNS of a client that was killed is not taken back: %s", error)

    async def _start(self, keeper: Keeper, ready: Callable[[], None]) -> None:
        told = False
        while True:
            try:
                self._undo.note(former=tuple(self._former))
                await keeper.start()
                break
            except OperationFailed as error:
                if not is_exhaustion(error):
                    log.error("%s", error)
                    self._stop(exit.status_of(error))
                    return
                if not told:
                    log.warning("the DNS has to wait for a free file descriptor: %s", error)
                told = True
                await asyncio.sleep(AGAIN)
        log.info("DNS set by %s", keeper)
        self._in_effect, self._inherited = True, False
        ready()

    async def _choose(self, dns: LinkDns) -> Keeper:
        if self._mode == "resolved" or (self._mode == "auto" and resolved_is_asked()):
            from mqvpn.system import resolved  # dbus-next takes long to import

            if await resolved.present():
                return resolved.Link(self._interface, dns)
            if self._mode == "resolved":
                hint = "systemctl enable --now systemd-resolved, or choose another DNSMode"
                raise OperationFailed("set the DNS by systemd-resolved", "it does not run", hint)
        if dns.over_tls == "yes":
            reason, hint = "this machine does not ask systemd-resolved", "take it out, or install systemd-resolved"
            raise OperationFailed("set DNSOverTLS = yes", reason, hint)
        return Files(self._instance, self._interface, self._mode, dns, self._undo)


class Files:
    """DNS by mqvpn-dns, in /etc/resolv.conf or by resolvconf."""

    def __init__(self, instance: str, interface: str, mode: str, dns: LinkDns, undo: Undo) -> None:
        self.problem = ""
        self._undo = undo
        self._request = Request("apply", instance, interface, mode, dns)
        self._by = ""
        self._watch: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return {"file": "/etc/resolv.conf", "": "mqvpn-dns"}.get(self._by, self._by)

    async def start(self) -> None:
        """Raises OperationFailed."""
        self._undo.note(dns=self._request.instance)
        with change("dns"):
            self._by = (await ask(self._request)).by
        if self._by == "file":
            self._watch = begin(self._look(), "looking at /etc/resolv.conf")

    def refresh(self) -> None:
        """A file does not care which interface has the name."""

    async def stop(self, *, leave: bool) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if leave:
            return
        try:
            await self.take_back()
        except OperationFailed as error:
            log.warning("%s", error)

    async def take_back(self) -> None:
        """Also what a predecessor of ours left. Raises OperationFailed."""
        with change("dns-back"):
            answer = await ask(Request("restore", self._request.instance))
        self._undo.done("dns")
        if answer.note:
            log.warning("%s", answer.note)

    async def _look(self) -> None:
        """Say so when another program overwrites the file; it is not fought."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            problem = "" if marked() else OVERWRITTEN
            if problem and not self.problem:
                log.warning("%s", problem)
            self.problem = problem


def wanted(settings: ClientSettings) -> LinkDns | None:
    """What the settings ask for; None: leave DNS alone."""
    if not settings.dns or settings.dns_mode == "none":
        return None
    return LinkDns(settings.dns, settings.domains, settings.dns_over_tls)


async def ask(request: Request) -> Answer:
    """Have mqvpn-dns do it: as a program of ours if this is root, else by its socket. Raises OperationFailed."""
    operation = "set the DNS" if request.verb == "apply" else "take the DNS back"
    try:
        exchange = _run(request.encode()) if may_write() else _connect(request.encode())
        answer = decode_answer(await _to_its_end(asyncio.wait_for(exchange, LIMIT)))
    except TimeoutError:
        raise OperationFailed(operation, f"mqvpn-dns did not answer within {LIMIT:.0f} s", NO_ROOT_PART) from None
    except ValueError:
        hint = "see journalctl -u 'mqvpn-dns@*'"
        raise OperationFailed(operation, "mqvpn-dns ended without an answer", hint) from None
    except OSError as error:
        if is_exhaustion(error):
            raise refused(operation, error.errno or 0) from error
        raise OperationFailed(operation, f"{SOCKET}: {error.strerror}", NO_ROOT_PART) from error
    if answer.error:
        reason, _, hint = answer.error.partition("; ")
        raise OperationFailed(operation, reason, hint or "see journalctl -u 'mqvpn-dns@*'")
    return answer


async def _to_its_end(exchange: Coroutine[Any, Any, bytes]) -> bytes:
    """Cancelled, what has begun ends first: a process of its own does it, which the next request could overtake."""
    under_way = asyncio.ensure_future(exchange)
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        await asyncio.wait([under_way])
        raise


async def _connect(line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(SOCKET)
    try:
        writer.write(line)
        return await reader.readline()
    finally:
        writer.close()


async def _run(line: bytes) -> bytes:
    """In a session of its own: what stops us from a terminal must not stop it half way."""
    package = str(Path(mqvpn.__file__).parents[1])
    environment: dict[str, Any] = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": package}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mqvpn.cli.dns", "serve",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_LINE,
        env=environment, start_new_session=True,
    )  # fmt: skip
    answer, _ = await process.communicate(line)
    return answer
