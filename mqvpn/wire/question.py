"""A question that every QUIC server answers without any key, and without keeping anything: a packet of a version that
nobody speaks is answered with Version Negotiation (RFC 8999, section 6; RFC 9000, section 6.1)."""

import secrets
from dataclasses import dataclass, field

VERSION = bytes.fromhex("1a2a3a4a")  # RFC 9000, section 15: reserved to force Version Negotiation
CID_SIZE = 8
DATAGRAM = 1200  # bytes; smaller ones need not be answered


def _cid() -> bytes:
    return secrets.token_bytes(CID_SIZE)


@dataclass(frozen=True, slots=True)
class Question:
    """One question; its connection IDs are random, so that only who saw it can answer."""

    destination: bytes = field(default_factory=_cid)
    source: bytes = field(default_factory=_cid)

    def write(self) -> bytes:
        """The datagram that asks."""
        return (b"\xc0" + VERSION + _cids(self.destination, self.source)).ljust(DATAGRAM, b"\0")

    def is_answer(self, datagram: bytes) -> bool:
        """Whether it is the Version Negotiation packet for this one: version 0, our connection IDs exchanged."""
        expected = bytes(4) + _cids(self.source, self.destination)
        return datagram[:1] >= b"\x80" and datagram[1 : 1 + len(expected)] == expected


def _cids(*cids: bytes) -> bytes:
    return b"".join(bytes([len(cid)]) + cid for cid in cids)
