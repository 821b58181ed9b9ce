"""The DNS of one link in systemd-resolved, over D-Bus (org.freedesktop.resolve1(5)); the only importer of dbus_next.

It is set again when resolved restarts (NameOwnerChanged) and when the bus is back. Nothing here can hold up the
loop that moves packets: dbus-next has no time limits and after the end of a connection answers no call, so each
call gets 3 s, and a connection that ended or did not answer is thrown away. Messages are raw: no introspection.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType
from dbus_next.errors import AuthError, InvalidAddressError
from dbus_next.message import Message

from mqvpn.system.dns import LinkDns
from mqvpn.system.errors import OperationFailed

log = logging.getLogger(__name__)

LIMIT = 3.0  # seconds that a call may take
FIRST, LAST = 0.25, 8.0  # seconds between attempts, doubling
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
RESOLVED = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")
OWNER_CHANGED = (
    f"type='signal',sender='{BUS[0]}',interface='{BUS[2]}',member='NameOwnerChanged',path='{BUS[1]}',arg0='{RESOLVED[0]}'"
)
ABSENT = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.UnitMasked",
}
DENIED = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}
HINTS = dict.fromkeys(DENIED, "install polkitd, whose rule lets the user mqvpn do this, or run it as root") | {
    "org.freedesktop.resolve1.LinkBusy": "networkd manages this link: tell it Unmanaged=yes",
}


class Absent(Exception):
    """There is no systemd-resolved here, and the bus knows how to start none."""


class Lost(Exception):
    """The bus, or resolved on it, went away or did not answer in time; `str()` says which."""


class Link:
    """The DNS of `interface`: kept as `dns` says from start() to stop().

    `problem` is empty while it is in effect, else one line for the operator.
    """

    def __init__(self, interface: str, dns: LinkDns) -> None:
        self.problem = ""
        self._interface = interface
        self._dns = dns
        self._again = asyncio.Event()
        self._delay = FIRST
        self._keeper: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return "systemd-resolved"

    async def start(self) -> None:
        """Set it, and keep it so. Raises OperationFailed."""
        try:
            async with connection(self._again) as bus:
                await self._apply(bus)
        except (Lost, Absent) as error:
            raise _failed(f"set the DNS of {self._interface}", str(error)) from None
        self._keeper = asyncio.create_task(self._keep())

    def refresh(self) -> None:
        """Set it once more: the interface may be another one of the same name."""
        self._again.set()

    async def stop(self, *, leave: bool) -> None:
        """Keep it no more, and take it back unless a successor does."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if not leave:
            await self.take_back()

    async def take_back(self) -> None:
        """Also what a predecessor set; what cannot be taken back goes with the interface, and is logged."""
        await revert(self._interface)

    async def _keep(self) -> None:
        while True:
            try:
                async with connection(self._again) as bus:
                    while True:
                        await self._once(bus)
            except (Lost, Absent) as error:
                self._report(str(error))
                await asyncio.sleep(self._later())

    async def _once(self, bus: "Bus") -> None:
        """Set it if resolved is there, and wait for a reason to do it again."""
        self._again.clear()
        try:
            if await bus.owner():
                await self._apply(bus)
                self._delay = FIRST
                self._report("")
            else:
                self._report("systemd-resolved is not running")
            await bus.wait(None)
        except OperationFailed as error:
            self._report(str(error))
            await bus.wait(self._later())

    def _later(self) -> float:
        """Seconds until the next attempt after one that failed."""
        delay, self._delay = self._delay, min(2 * self._delay, LAST)
        return delay

    async def _apply(self, bus: "Bus") -> None:
        index = _index(self._interface)
        servers = [
            [socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed]
            for address in self._dns.servers
        ]
        domains = [["." if name == "~." else name.removeprefix("~"), name.startswith("~")] for name in self._domains()]
        await bus.resolved("SetLinkDNS", "ia(iay)", [index, servers])
        await bus.resolved("SetLinkDomains", "ia(sb)", [index, domains])
        await bus.resolved("SetLinkDefaultRoute", "ib", [index, True])
        await bus.resolved("SetLinkDNSOverTLS", "is", [index, self._dns.over_tls])  # "": resolved's own setting

    def _domains(self) -> tuple[str, ...]:
        """~. sends all names to this link, but those that another one claims more closely."""
        return ("~.", *(name for name in self._dns.domains if name != "~."))

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("DNS of %s: %s; trying again", self._interface, problem)
        elif self.problem and not problem:
            log.info("DNS of %s is in effect again", self._interface)
        self.problem = problem


async def present() -> bool:
    """Whether systemd-resolved runs or can be started. Raises OperationFailed if that cannot be found out."""
    try:
        async with connection(asyncio.Event()) as bus:
            await bus.ping()
    except Absent:
        return False
    except Lost as error:
        raise _failed("ask for systemd-resolved", str(error)) from None
    return True


async def revert(interface: str) -> None:
    """Take back all DNS of an interface. It is no error if there is no interface, or no resolved."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return
    try:
        async with connection(asyncio.Event()) as bus:
            if await bus.owner():
                await bus.resolved("RevertLink", "i", [index])
    except (Lost, OperationFailed) as error:
        log.warning("the DNS of %s is left to go with it: %s", interface, error)
    except Absent:
        return


class _MessageBus(MessageBus):
    """dbus-next's bus, less one of its traps."""

    async def _auth_readline(self) -> str:
        # dbus-next's own reads for ever, and holds up the whole loop, when the bus closes the connection here.
        line = b""
        while not line.endswith(b"\r\n"):
            more = await asyncio.get_running_loop().sock_recv(self._sock, 1)
            if not more or len(line) > 1024:
                raise EOFError
            line += more
        return line[:-2].decode("ascii", "replace")


class Bus:
    """One connection to the system bus; each call raises Lost when it is of no more use."""

    def __init__(self, bus: MessageBus, end: "asyncio.Future[Any]", event: asyncio.Event) -> None:
        self._bus = bus
        self._end = end
        self._event = event
        bus.add_message_handler(self._handle)

    async def watch(self) -> None:
        """Set the event whenever resolved comes or goes."""
        await self._call(*BUS, "AddMatch", "s", [OWNER_CHANGED])

    async def ping(self) -> None:
        """Raises Absent if there is no resolved; it is started if systemd may do so."""
        await self._call(*RESOLVED[:2], "org.freedesktop.DBus.Peer", "Ping", "", [], MessageFlag.NONE)

    async def owner(self) -> bool:
        """Whether resolved is on the bus now."""
        answer = await self._call(*BUS, "NameHasOwner", "s", [RESOLVED[0]])
        return bool(answer[0])

    async def resolved(self, member: str, signature: str, body: list[Any]) -> None:
        """Call a method of resolved's Manager. Raises OperationFailed when it refuses."""
        await self._call(*RESOLVED, member, signature, body)

    async def wait(self, seconds: float | None) -> None:
        """Until the event is set, or the time is over. Raises Lost at the connection's end."""
        event = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((event, self._end), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
        if self._end.done():
            raise Lost("the system bus closed the connection")

    async def _call(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: list[Any],
        flags: MessageFlag = MessageFlag.NO_AUTOSTART,
    ) -> list[Any]:  # fmt: skip
        message = Message(
            destination=destination, path=path, interface=interface, member=member,
            signature=signature, body=body, flags=flags,
        )  # fmt: skip
        call = asyncio.ensure_future(self._bus.call(message))
        try:
            await asyncio.wait((call, self._end), timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not call.done():
                call.cancel()
        if not call.done() or call.cancelled() or call.exception() is not None:
            gone = "closed the connection" if self._end.done() else f"did not answer {member} within {LIMIT:.0f} s"
            raise Lost(f"the system bus or systemd-resolved {gone}")
        return _body(call.result(), member)

    def _handle(self, message: Message) -> None:
        changed = message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged"
        if changed and message.sender == BUS[0] and message.body[:1] == [RESOLVED[0]]:
            self._event.set()


@contextlib.asynccontextmanager
async def connection(event: asyncio.Event) -> AsyncIterator[Bus]:
    """A fresh connection to the system bus (DBUS_SYSTEM_BUS_ADDRESS, else the usual place) that sets `event`
    when resolved comes or goes. Raises Absent if there is no bus, Lost if it does not answer."""
    bus = _open()
    end = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
    try:
        await _connect(bus)
        link = Bus(bus, end, event)
        await link.watch()
        yield link
    finally:
        _throw_away(bus)
        end.cancel()
        await asyncio.wait((end,))
        if not end.cancelled():
            end.exception()


def _open() -> MessageBus:
    """The socket: dbus-next connects it while it makes the object, and would wait for a bus whose queue is full."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.1)
    try:
        return _MessageBus(bus_type=BusType.SYSTEM)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            raise Absent("there is no system bus") from None
        raise Lost(f"the system bus cannot be reached: {error.strerror or 'it does not answer'}") from None
    except InvalidAddressError as error:
        raise Lost(f"DBUS_SYSTEM_BUS_ADDRESS: {error}") from None
    finally:
        socket.setdefaulttimeout(before)


async def _connect(bus: MessageBus) -> None:
    try:
        async with asyncio.timeout(LIMIT):  # wait_for() of Python 3.11 may forget that it was cancelled
            await bus.connect()
    except TimeoutError:
        raise Lost(f"the system bus did not answer within {LIMIT:.0f} s") from None
    except (OSError, EOFError, AuthError) as error:
        raise Lost(f"the system bus refused the connection: {error or 'it ended'}") from None


def _throw_away(bus: MessageBus) -> None:
    """Close the socket now; dbus-next's disconnect() leaves that to the garbage collector."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(bus._fd)
    loop.remove_writer(bus._fd)
    with contextlib.suppress(OSError):
        bus._stream.close()
    bus._sock.close()


def _body(reply: Message | None, member: str) -> list[Any]:
    """The answer's values. Raises Absent or OperationFailed for an error."""
    if reply is None:
        raise Lost(f"no answer to {member}")
    if reply.message_type is not MessageType.ERROR:
        return list(reply.body)
    text = str(reply.body[0]) if reply.body else reply.error_name
    if reply.error_name in ABSENT:
        raise Absent(text)
    if reply.error_name == "org.freedesktop.DBus.Error.NoReply":
        raise Lost(f"systemd-resolved went away during {member}")
    raise _failed(f"{member} of systemd-resolved", text, HINTS.get(reply.error_name, ""))


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise _failed(f"set the DNS of {interface}", error.strerror or "no such interface") from None


def _failed(operation: str, reason: str, hint: str = "") -> OperationFailed:
    return OperationFailed(operation, reason, hint or "see journalctl -u systemd-resolved, or say DNSMode = none")
