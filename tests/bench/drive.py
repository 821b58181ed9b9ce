"""Drives the compiled path with the same packets each time, to be counted by callgrind: drive.py CASE.

    client: Engine.from_tun, transmit  ->  memory  ->  server: Engine.receive, Tun.write (into /dev/null), and its
    acknowledgements back

No socket, no clock, no chance: the second run executes the instructions of the first. Prints how many packets passed.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mqvpn.dataplane.tun import Tun
from tests.dataplane import oracle
from tests.dataplane.pair import CLIENT_ADDRESS, SERVER_ADDRESS, End, Link, Pair, udp_packet

SEGMENT, SEGMENTS = 1300, 46  # bytes of TCP payload, and how many make a super packet
SUPERS = 4  # of them in a turn
SMALL = 160  # bytes of UDP payload
DELAY = 0.0005  # virtual seconds, one way
BURST = 60_000  # bytes that the driver puts into one receive slot
TURNS = 60


@cache
def super_packet() -> bytes:
    """A super packet of TCP from the client to the server; its checksum is of no consequence, as in the kernel's."""
    packet = oracle.ip(4, oracle.TCP, oracle.tcp(bytes(SEGMENT * SEGMENTS), flags=oracle.ACK))
    return packet[:12] + udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"")[12:20] + packet[20:]


def super_packets(turn: int) -> Iterator[tuple[bytes, int]]:
    """One turn of a TCP flow: four super packets, and the size of their segments."""
    for number in range(SUPERS * turn, SUPERS * turn + SUPERS):
        sequence = struct.pack("!I", number * SEGMENT * SEGMENTS % 2**32)
        yield super_packet()[:24] + sequence + super_packet()[28:], SEGMENT


def small_packets(turn: int) -> Iterator[tuple[bytes, int]]:
    """One turn of eight UDP flows: a batch of small packets."""
    for number in range(64):
        yield udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(SMALL), (1000 + number % 8, 2000)), 0


CASES = {"tcp": (super_packets, SUPERS * SEGMENTS), "small": (small_packets, 64)}  # and packets in a turn


def slots(datagrams: list[Any]) -> Iterator[tuple[Any, Any, Any, bytes, int]]:
    """Neighbouring datagrams of one size joined, as the kernel's GRO joins them; the last may be shorter."""
    at = 0
    while at < len(datagrams):
        socket, remote, local, first = datagrams[at]
        joined = [first]
        at += 1
        while at < len(datagrams) and len(joined[-1]) == len(first) and len(joined) * len(first) < BURST:
            if datagrams[at][:3] != (socket, remote, local) or len(datagrams[at][3]) > len(first):
                break
            joined.append(datagrams[at][3])
            at += 1
        yield socket, remote, local, b"".join(joined), len(first)


class Road:
    """The two ends of a Pair, with nothing but memory between them, and a TUN each that forgets."""

    def __init__(self, sink: int) -> None:
        self._pair = Pair([Link(delay=DELAY)])
        self._now = self._pair.now
        self._tuns = {end.is_server: Tun(sink) for end in (self._pair.client, self._pair.server)}

    def push(self, packets: Iterable[tuple[bytes, int]], count: int) -> None:
        """Let packets enter the client's TUN, and time pass until `count` of them have arrived."""
        client, server = self._pair.client, self._pair.server
        for packet, segment in packets:
            client.batch.append(packet, segment)
        client.engine.from_tun(client.batch, self._now)
        wanted = self.arrived() + count
        while self.arrived() < wanted:
            for sender, receiver in ((client, server), (server, client)):
                while self._carry(sender, receiver):
                    pass
                self._now += DELAY
                for end in (client, server):
                    end.engine.timeout(end.refs, self._now)

    def arrived(self) -> int:
        """Packets that the server has received."""
        return self._pair.server.conn.counters()[2]

    def _carry(self, sender: End, receiver: End) -> bool:
        """One transmit of the sender's, as far as the receiver's TUN. False: it had nothing to send."""
        if not sender.engine.transmit(sender.bursts, self._now):
            return False
        for socket, remote, local, data, segment in slots(sender.bursts.datagrams()):
            receiver.datagrams.clear()
            receiver.datagrams.append(socket, local, remote, data, segment)
            receiver.engine.receive(receiver.datagrams, receiver.refs, self._now)
            self._tuns[receiver.is_server].write(receiver.refs)
        sender.bursts.clear()
        return True


def main(case: str) -> None:
    packets, in_turn = CASES[case]
    with open("/dev/null", "wb") as sink:
        road = Road(sink.fileno())
        for turn in range(TURNS):
            road.push(packets(turn), in_turn)
    print(road.arrived())


if __name__ == "__main__":
    main(sys.argv[1])
