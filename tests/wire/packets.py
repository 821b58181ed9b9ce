"""IP packets for the tests, built field by field."""

from ipaddress import IPv4Address, IPv6Address

from mqvpn.wire.ip import checksum

UDP = bytes.fromhex("04d2 0035 000c 0000") + b"data"


def ipv4(
    body: bytes = UDP,
    *,
    source: str = "10.0.0.2",
    destination: str = "192.0.2.1",
    protocol: int = 17,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """`fragment`: flags and offset as in the header."""
    size = 20 + len(options)
    header = bytearray([0x40 | size // 4, 0]) + (size + len(body)).to_bytes(2) + b"\0\0" + fragment.to_bytes(2)
    header += bytes([64, protocol, 0, 0]) + IPv4Address(source).packed + IPv4Address(destination).packed
    header += options
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header) + body


def ipv6(
    body: bytes = UDP,
    *,
    source: str = "fd00::2",
    destination: str = "2001:db8::1",
    protocol: int = 17,
) -> bytes:
    start = b"\x60\0\0\0" + len(body).to_bytes(2) + bytes([protocol, 64])
    return start + IPv6Address(source).packed + IPv6Address(destination).packed + body
