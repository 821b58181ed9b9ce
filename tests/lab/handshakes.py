"""The maximum segment sizes that TCP offers at a place: what the SYNs and SYN-ACKs say that pass an interface.

Runs as a program inside the namespace: -m tests.lab.handshakes INTERFACE prints "ready", then on SIGTERM a JSON row
for each of them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.lab.capture import IPV4, IPV6, PACKET_OUTGOING, Recorder, arrivals

if TYPE_CHECKING:
    from tests.lab.net import Namespace

TCP, SYN, ACK = 6, 2, 16
OPTION_END, OPTION_PADDING, OPTION_MSS = 0, 1, 2  # RFC 9293, section 3.2


@dataclass(frozen=True, slots=True)
class Offer:
    """One SYN or SYN-ACK; `leaves`: it was sent here, else it has arrived."""

    leaves: bool
    answers: bool
    mss: int


class Handshakes(Recorder):
    """Watches the namespace's interface; afterwards `offers` has every SYN and SYN-ACK, in order."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        super().__init__(namespace, "-m", "tests.lab.handshakes", interface)

    @property
    def offers(self) -> list[Offer]:
        return [Offer(**row) for row in self.rows]


def mss_of(tcp: bytes) -> int:
    """The value of a TCP header's MSS option; 0: it has none."""
    options, at = tcp[20 : (tcp[12] >> 4) * 4], 0
    while at < len(options) and options[at] != OPTION_END:
        if options[at] == OPTION_MSS:
            return int.from_bytes(options[at + 2 : at + 4])
        at += 1 if options[at] == OPTION_PADDING else max(options[at + 1], 2)
    return 0


def read(ethertype: int, packet: bytes, *, leaves: bool) -> Offer | None:
    """What a packet offers, which begins behind its Ethernet header; None: it opens no TCP connection."""
    if ethertype == IPV4 and packet[9] == TCP:
        tcp = packet[(packet[0] & 15) * 4 :]
    elif ethertype == IPV6 and packet[6] == TCP:
        tcp = packet[40:]
    else:
        return None
    return Offer(leaves, bool(tcp[13] & ACK), mss_of(tcp)) if tcp[13] & SYN else None


def main(interface: str) -> None:
    """Record until SIGTERM."""
    offers = [
        offer
        for _, ethertype, kind, packet in arrivals([interface])
        if (offer := read(ethertype, packet, leaves=kind == PACKET_OUTGOING))
    ]
    print(json.dumps([asdict(offer) for offer in offers]))


if __name__ == "__main__":
    main(sys.argv[1])
