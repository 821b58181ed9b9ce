"""IP packets in DATAGRAM capsules (RFC 9297, section 3.5; RFC 9484, section 6), for peers without QUIC DATAGRAM."""

from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.capsule import DatagramCapsule, write_capsule

IP_PACKET = 0  # Context ID


def compose_datagram(packet: bytes) -> bytes:
    """Return the capsule that carries an IP packet."""
    payload = Writer()
    payload.varint(IP_PACKET)
    payload.write(packet)
    out = Writer()
    write_capsule(out, DatagramCapsule(bytes(payload)))
    return bytes(out)


def read_datagram(payload: bytes) -> bytes | None:
    """Return the IP packet of an HTTP datagram; None: it is of another context, or cut short."""
    src = Reader(payload)
    try:
        return src.rest() if src.varint() == IP_PACKET else None
    except DecodeError:
        return None
