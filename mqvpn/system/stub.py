"""Looks a server's name up by packets of our own, which carry our mark: the only queries that pass the kill switch.

The machine's resolver cannot, for its packets are anybody's; opening the block for it would let every other name out
too. Asked are the name servers of the machine itself, behind systemd-resolved those that it would ask.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from mqvpn.system.dns import name_servers_in
from mqvpn.system.errors import refused
from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.dns import PORT, Kind, NoSuchName, read_answer, write_query

RESOLV_CONF = Path("/etc/resolv.conf")
BEHIND_RESOLVED = Path("/run/systemd/resolve/resolv.conf")  # systemd-resolved.service(8)
TIMEOUT = 1.5  # seconds for one name server
MOST_SERVERS = 3  # resolv.conf(5): MAXNS
ANSWER_BYTES = 4096


async def look_up(name: str, mark: int, servers: Sequence[str] = ()) -> list[str]:
    """The addresses of `name`, IPv6 first; of the first name server that answers. Empty: none did, or it has none. One
    that leaves the question for IPv6 unanswered, as some do, has the IPv4 addresses.

    Asked are `servers`, or without any the machine's.

    Raises OperationFailed when packets may not carry a mark, ValueError for what is no domain name.
    """
    for server in servers or name_servers():
        questions = [asyncio.ensure_future(_ask(server, name, kind, mark)) for kind in (Kind.AAAA, Kind.A)]
        try:
            done, waiting = await asyncio.wait(questions, timeout=TIMEOUT)
        finally:
            for question in questions:
                question.cancel()
        answers = [_answer(question) for question in questions if question in done]
        found = [address for addresses in answers for address in addresses or ()]
        if found or not (waiting or None in answers):
            return found
    return []


def _answer(question: "asyncio.Future[list[str]]") -> list[str] | None:
    """None: the name server cannot be asked."""
    with suppress(OSError, DecodeError):
        return question.result()
    return None


def name_servers() -> list[str]:
    """The addresses of the machine's name servers, at most three."""
    found = _read(RESOLV_CONF)
    if any(ip_address(server).is_loopback for server in found):
        found = _read(BEHIND_RESOLVED) or found
    return found[:MOST_SERVERS]


def _read(file: Path) -> list[str]:
    try:
        return [server for server in name_servers_in(file.read_text(errors="replace")) if is_address(server)]
    except OSError:
        return []


def is_address(text: str) -> bool:
    """Whether this is an address and no name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


async def _ask(server: str, name: str, kind: Kind, mark: int) -> list[str]:
    """The server's addresses of this kind for `name`; a name that does not exist has none."""
    loop = asyncio.get_running_loop()
    query = write_query(int.from_bytes(os.urandom(2)), name, kind)
    with _open(server, mark) as udp:
        await loop.sock_connect(udp, (server, PORT))  # so that only its answers come in
        await loop.sock_sendall(udp, query)
        while True:
            message = await loop.sock_recv(udp, ANSWER_BYTES)
            try:
                return [str(address) for address in read_answer(message, query, kind)]
            except NoSuchName:
                return []
            except DecodeError:
                continue  # perhaps a forged one; the real one may still come


def _open(server: str, mark: int) -> socket.socket:
    family = socket.AF_INET6 if ip_address(server).version == 6 else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    except PermissionError as error:
        udp.close()
        raise refused("look the server's name up", error.errno or 0) from error
    return udp
