"""A name server that gives every name the same addresses, or errs in the way it is told.

Runs as a program inside a namespace (standard library only): nameserver.py MANNER IPV4 IPV6 prints "ready", then
answers on port 53 until it is ended. MANNER is plain, forged (a wrong answer before each right one), or unknown (no
name exists).
"""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.net import Namespace


@contextmanager
def name_server(namespace: Namespace, manner: str, ipv4: str, ipv6: str) -> Iterator[None]:
    """Run one in the namespace for as long as the block lasts."""
    argv = (sys.executable, "-S", str(Path(__file__)), manner, ipv4, ipv6)
    process = namespace.popen(*argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def answers(query: bytes, manner: str, addresses: dict[bytes, bytes]) -> Iterator[bytes]:
    """The messages (RFC 1035, section 4) that answer a query; addresses by TYPE."""
    if manner == "unknown":
        yield query[:2] + b"\x81\x83" + query[4:]
        return
    if manner == "forged":
        yield bytes([query[0] ^ 1]) + query[1:2] + b"\x81\x80" + query[4:]
    kind = query[-4:-2]
    content = addresses[kind]
    record = b"\xc0\x0c" + kind + b"\0\1" + bytes(4) + bytes([0, len(content)]) + content
    yield query[:2] + b"\x81\x80" + query[4:6] + b"\0\1" + bytes(4) + query[12:] + record


def main(manner: str, ipv4: str, ipv6: str) -> None:
    addresses = {b"\0\1": ipaddress.ip_address(ipv4).packed, b"\0\x1c": ipaddress.ip_address(ipv6).packed}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("", 53))
        print("ready", flush=True)
        while True:
            query, sender = udp.recvfrom(512)
            for answer in answers(query, manner, addresses):
                udp.sendto(answer, sender)


if __name__ == "__main__":
    main(*sys.argv[1:])
