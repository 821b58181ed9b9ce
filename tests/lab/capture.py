"""What leaves a namespace by its uplinks, packet by packet, and which of it is a leak.

Runs as a program inside the namespace (standard library only): capture.py INTERFACE... prints "ready", then on SIGTERM
a JSON row for each different outgoing packet. Everything that is not on the allow-list is a leak: the list has the
tunnel's own packets to the server and what keeps a link up (ARP, DHCP, neighbour discovery, listener reports).
"""

from __future__ import annotations

import ipaddress
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.lab.net import Namespace

ETH_P_ALL, PACKET_OUTGOING = 3, 4
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
UDP, ICMPV6 = 17, 58
LINK_ICMPV6 = {131, 132, 133, 135, 136, 143}  # RFC 3810 and RFC 4861
DHCP = {(68, 67), (546, 547)}


@dataclass(frozen=True, slots=True)
class Seen:
    """One outgoing packet: `sport` and `dport` are those of TCP or UDP, or the type of an ICMP message and 0."""

    interface: str
    ethertype: int
    source: str = ""
    destination: str = ""
    protocol: int = 0
    sport: int = 0
    dport: int = 0

    def is_allowed(self, servers: Sequence[tuple[str, int]]) -> bool:
        if self.ethertype == ARP:
            return True
        if self.protocol == ICMPV6:
            return self.sport in LINK_ICMPV6
        own = (self.destination, self.dport) in servers
        return self.protocol == UDP and (own or (self.sport, self.dport) in DHCP)


class Recorder:
    """Context manager: a program in the namespace that says when it is ready, and at SIGTERM what it saw, in JSON."""

    rows: list[dict[str, Any]]

    def __init__(self, namespace: Namespace, *argv: str) -> None:
        self._argv = (sys.executable, "-S", *argv)
        self._namespace = namespace

    def __enter__(self) -> Self:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
        self.process = self._namespace.popen(*self._argv, **pipes)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.rows = json.loads(self.process.communicate()[0])


class Capture(Recorder):
    """Watches the namespace's interfaces; afterwards `packets` has each kind that left, once."""

    def __init__(self, namespace: Namespace, interfaces: Sequence[str]) -> None:
        super().__init__(namespace, str(Path(__file__)), *interfaces)

    @property
    def packets(self) -> list[Seen]:
        return [Seen(**row) for row in self.rows]

    def leaks(self, servers: Sequence[tuple[str, int]] = ()) -> list[Seen]:
        """What must not have left; `servers` are the addresses and ports of the tunnel's server."""
        return [packet for packet in self.packets if not packet.is_allowed(servers)]


def read(interface: str, ethertype: int, packet: bytes) -> Seen:
    """The fields of one packet, which begins behind its Ethernet header."""
    if ethertype == IPV4:
        protocol, ends, body = packet[9], (packet[12:16], packet[16:20]), packet[(packet[0] & 15) * 4 :]
    elif ethertype == IPV6:
        protocol, ends, body = packet[6], (packet[8:24], packet[24:40]), packet[40:]
        if protocol == 0:  # hop-by-hop options, as listener reports have
            protocol, body = body[0], body[(body[1] + 1) * 8 :]
    else:
        return Seen(interface, ethertype)
    source, destination = (str(ipaddress.ip_address(end)) for end in ends)
    if protocol in (1, ICMPV6):
        sport, dport = body[0], 0
    else:
        sport, dport = int.from_bytes(body[:2]), int.from_bytes(body[2:4])
    return Seen(interface, ethertype, source, destination, protocol, sport, dport)


def arrivals(interfaces: Sequence[str]) -> Iterator[tuple[str, int, int, bytes]]:
    """Interface, EtherType, kind and bytes of each packet; prints "ready", ends at SIGTERM with none left unread."""
    # Without a protocol until each is bound to its interface: else it would see those of all others, the TUN's, too.
    sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) for _ in interfaces]
    for opened, interface in zip(sockets, interfaces, strict=True):
        opened.setblocking(False)
        opened.bind((interface, ETH_P_ALL))
    stop, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("ready", flush=True)
    stopped = False
    while not stopped:
        stopped = stop in select.select([stop, *sockets], [], [])[0]
        for opened in sockets:
            while True:
                try:
                    packet, (interface, ethertype, kind, *_) = opened.recvfrom(65535)
                except OSError:  # no more, or the interface went down
                    break
                yield interface, ethertype, kind, packet


def main(interfaces: Sequence[str]) -> None:
    """Record until SIGTERM."""
    seen: dict[Seen, None] = {}
    for interface, ethertype, kind, packet in arrivals(interfaces):
        if kind == PACKET_OUTGOING:
            seen[read(interface, ethertype, packet)] = None
    print(json.dumps([asdict(packet) for packet in seen]))


if __name__ == "__main__":
    main(sys.argv[1:])
