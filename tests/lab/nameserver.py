"""A name server that gives every name the same addresses, or errs in the way it is told.

Runs as a program (standard library only): nameserver.py LISTEN MANNER ADDRESS... prints "ready", then answers on port
53 until it is ended, and prints each name it was asked for. MANNER is plain, forged (a wrong answer before each right
one), or unknown (no name exists). A type of which it has no address has no records.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.net import Namespace

IP_FREEBIND = 15  # <linux/in.h>; not in the socket module
TYPES = {4: 1, 6: 28}  # A and AAAA


def command(listen: str, *addresses: str, manner: str = "plain") -> tuple[str, ...]:
    """What to run."""
    return (sys.executable, "-S", str(Path(__file__)), listen, manner, *addresses)


@contextmanager
def name_server(namespace: Namespace, manner: str, *addresses: str) -> Iterator[None]:
    """Run one in the namespace, on all its IPv4 addresses, for as long as the block lasts."""
    process = namespace.popen(*command("0.0.0.0", *addresses, manner=manner), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def asked(query: bytes) -> tuple[str, int, bytes]:
    """The name and the type in a query, and its question as it stands there (RFC 1035, section 4.1.2)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), int.from_bytes(query[at + 1 : at + 3]), query[12 : at + 5]


def answers(query: bytes, manner: str, addresses: dict[int, bytes]) -> Iterator[bytes]:
    """The messages (RFC 1035, section 4) that answer a query; addresses by TYPE."""
    if manner == "unknown":
        yield query[:2] + b"\x81\x83" + query[4:]
        return
    if manner == "forged":
        yield bytes([query[0] ^ 1]) + query[1:2] + b"\x81\x80" + query[4:]
    _, kind, question = asked(query)
    content = addresses.get(kind, b"")
    record = struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(content)) + content if content else b""
    yield query[:2] + struct.pack("!HHHHH", 0x8580, 1, bool(content), 0, 0) + question + record


def main(listen: str, manner: str, *addresses: str) -> None:
    found = {TYPES[address.version]: address.packed for address in map(ipaddress.ip_address, addresses)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)  # the address may come later
        udp.bind((listen, 53))
        print("ready", flush=True)
        while True:
            query, sender = udp.recvfrom(512)
            print(asked(query)[0], flush=True)
            for answer in answers(query, manner, found):
                udp.sendto(answer, sender)


if __name__ == "__main__":
    main(*sys.argv[1:])
