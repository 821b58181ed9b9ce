"""A name server that knows one answer: every name has the address given on the command line (RFC 1035).

Run it as a program: nameserver.py LISTEN ANSWER. It prints each name it was asked for.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import ip_address

TYPE_A = 1


def answer(query: bytes, address: bytes) -> tuple[str, bytes]:
    """The name in a query, and the response: the address for type A, else no record."""
    end = query.index(0, 12) + 5
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    known = struct.unpack("!H", query[end - 4 : end - 2])[0] == TYPE_A
    header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, known, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, 0, 4) + address if known else b""
    return ".".join(labels), header + query[12:end] + record


def main(listen: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND: the address may come later
        udp.bind((listen, 53))
        while True:
            query, client = udp.recvfrom(512)
            name, response = answer(query, ip_address(address).packed)
            print(name, flush=True)
            udp.sendto(response, client)


if __name__ == "__main__":
    main(*sys.argv[1:])
