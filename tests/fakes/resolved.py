"""systemd-resolved as its clients see it on a bus: the DNS of links, refusals, restarts, silence.

tests/system/test_resolved_contract.py holds it to what the real one does.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message

NAME, PATH, MANAGER = "org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager"
SIGNATURES = {
    "SetLinkDNS": "ia(iay)",
    "SetLinkDomains": "ia(sb)",
    "SetLinkDefaultRoute": "ib",
    "SetLinkDNSOverTLS": "is",
    "RevertLink": "i",
}


@dataclass
class FakeLink:
    """What resolved knows about one link."""

    servers: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    default_route: bool | None = None
    over_tls: str = ""


class FakeResolved:
    """One resolved; its links survive restarts, as the real one's do (it keeps them in /run)."""

    def __init__(self, address: str) -> None:
        self.links: dict[int, FakeLink] = {}
        self.calls: list[str] = []
        self.silent = False  # takes calls and answers none
        self.denies = ""  # the D-Bus error that every call gets
        self._address = address
        self._bus: MessageBus | None = None

    def link(self, name: str) -> FakeLink:
        return self.links.get(socket.if_nametoindex(name), FakeLink())

    async def start(self) -> None:
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._handle)
        self._end = asyncio.ensure_future(self._bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        self._end.add_done_callback(lambda end: end.cancelled() or end.exception())
        await self._bus.request_name(NAME)

    async def stop(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()
            await asyncio.wait([self._end], timeout=3)
            self._bus = None

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != MANAGER:
            return None
        self.calls.append(message.member)
        if self.silent:
            return True
        if self.denies:
            return Message.new_error(message, self.denies, "Interactive authentication required.")
        if message.signature != SIGNATURES.get(message.member):
            return Message.new_error(message, "org.freedesktop.DBus.Error.InvalidArgs", "Invalid arguments")
        index = message.body[0]
        try:
            socket.if_indextoname(index)
        except OSError:
            return Message.new_error(message, "org.freedesktop.resolve1.NoSuchLink", f"Link {index} not known")
        return self._change(message, index)

    def _change(self, message: Message, index: int) -> Message:
        link = self.links.setdefault(index, FakeLink())
        if message.member == "SetLinkDNS":
            if any(len(packed) != {2: 4, 10: 16}.get(family) for family, packed in message.body[1]):
                return Message.new_error(message, "org.freedesktop.DBus.Error.InvalidArgs", "Invalid address size")
            link.servers = [str(ip_address(bytes(packed))) for _, packed in message.body[1]]
        elif message.member == "SetLinkDomains":
            link.domains = [("~" if routing else "") + name for name, routing in message.body[1]]
        elif message.member == "SetLinkDefaultRoute":
            link.default_route = message.body[1]
        elif message.member == "SetLinkDNSOverTLS":
            link.over_tls = message.body[1]
        else:
            del self.links[index]
        return Message.new_method_return(message)
