"""The part of a QUIC packet that no version changes (RFC 8999): long headers, and Version Negotiation.

Enough to tell whose a datagram is before any key is known, and to answer versions that nobody here speaks; of
version 1 also the token of an Initial packet (RFC 9000, section 17.2.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mqvpn.wire.buffer import DecodeError, Reader, Writer

MAX_CID = 20  # RFC 9000, section 17.2: longer ones are dropped by version 1
VERSION_1 = 0x00000001
_INITIAL = 0x00  # bits 0x30 of a version 1 long header


@dataclass(frozen=True, slots=True)
class LongHeader:
    """RFC 8999, section 5.1."""

    first: int
    version: int
    destination: bytes
    source: bytes
    token: bytes = b""  # of an Initial packet

    @property
    def is_initial(self) -> bool:
        """Whether this is an Initial packet of version 1 (RFC 9000, section 17.2.2)."""
        return self.version == VERSION_1 and self.first & 0x30 == _INITIAL

    @classmethod
    def read(cls, datagram: bytes) -> "LongHeader | None":
        """Read the header of a datagram's first packet; None if it is broken."""
        src = Reader(datagram)
        try:
            first, version = src.uint8(), int.from_bytes(src.take(4))
            destination = src.take(src.uint8())
            source = src.take(src.uint8())
            header = cls(first, version, destination, source)
            if max(len(destination), len(source)) > MAX_CID:
                return None
            return replace(header, token=src.take(src.varint())) if header.is_initial else header
        except DecodeError:
            return None


def version_negotiation(header: LongHeader, versions: Iterable[int]) -> bytes:
    """Return the Version Negotiation packet (RFC 8999, section 6) that answers `header`."""
    out = Writer()
    out.uint8(0xC0)  # RFC 9000, section 17.2.1: the bit 0x40 set, so that it can be told from other protocols
    out.write(bytes(4))
    for cid in (header.source, header.destination):
        out.uint8(len(cid))
        out.write(cid)
    for version in versions:
        out.write(version.to_bytes(4))
    return bytes(out)
