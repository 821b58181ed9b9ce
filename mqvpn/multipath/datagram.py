"""Where the long-header packets of a datagram end (RFC 9000, sections 12.2 and 17.2).

A datagram may hold Initial and Handshake packets and, behind them, one 1-RTT packet. The former are for
aioquic, the latter is for the engine.
"""

from mqvpn.wire.buffer import DecodeError, Reader

LONG_HEADER = 0x80
FIXED_BIT = 0x40
VERSION_1 = 1
INITIAL, RETRY = 0, 3  # long packet types


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Return the long-header part and the 1-RTT packet behind it, either may be empty.

    The long-header part keeps the datagram's length: an Initial counts only in one of at least 1200 bytes.
    """
    source = Reader(datagram)
    try:
        while source.remaining and datagram[source.position] & LONG_HEADER:
            _skip_long_header_packet(source)
    except DecodeError:
        return datagram, b""
    end = source.position
    if not source.remaining or not datagram[end] & FIXED_BIT:
        return datagram, b""  # nothing, or padding
    return datagram[:end] + bytes(source.remaining) if end else b"", datagram[end:]


def _skip_long_header_packet(source: Reader) -> None:
    first = source.uint8()
    version = int.from_bytes(source.take(4))
    source.take(source.uint8())  # Destination Connection ID
    source.take(source.uint8())  # Source Connection ID
    kind = first >> 4 & 3
    if version != VERSION_1 or kind == RETRY:  # these have no length: they fill the datagram
        source.rest()
        return
    if kind == INITIAL:
        source.take(source.varint())  # Token
    source.take(source.varint())
