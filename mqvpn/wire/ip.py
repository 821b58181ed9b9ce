"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers as the tunnel sees them, and the ICMP errors it answers with.

For single packets off the fast path; the compiled engine has its own. An error is built only where RFC 1122,
section 3.2.2, and RFC 4443, section 2.4(e), allow one, and is None elsewhere.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from mqvpn.wire.address import Address
from mqvpn.wire.buffer import DecodeError

ICMP: Final = 1
ICMPV6: Final = 58
HOP_LIMIT: Final = 64  # of the packets built here

_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
# Hop-by-Hop, Routing, Destination Options, Mobility, HIP, Shim6: eight bytes and `length` times eight.
_OPTIONS: Final = frozenset({0, 43, 60, 135, 139, 140})

_ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})  # and Redirect and Source Quench: RFC 1122, section 3.2.2
_ICMPV6_REDIRECT: Final = 137
_BROADCAST: Final = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class IpHeader:
    """One packet's header. `protocol` is the first that is no IPv6 extension header; `payload` its offset."""

    source: Address
    destination: Address
    protocol: int
    payload: int
    later_fragment: bool

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.source.version

    @classmethod
    def read(cls, packet: bytes) -> "IpHeader":
        """Read the header of a whole packet; DecodeError if it is no IP packet of exactly this length."""
        version = packet[0] >> 4 if packet else 0
        if version == 4:
            return _read_ipv4(packet)
        if version == 6:
            return _read_ipv6(packet)
        raise DecodeError("not an IP packet")


def checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    # 2^16 is 1 modulo 65535: the number as a whole has the same remainder as the sum of its 16-bit words.
    number = int.from_bytes(data)
    total = number % 0xFFFF
    if total == 0 and number:
        total = 0xFFFF
    return total ^ 0xFFFF


def packet_too_big(packet: bytes, mtu: int, source: Address) -> bytes | None:
    """Return the ICMP error that tells the sender of `packet` to use `mtu` bytes at most.

    ICMPv4 type 3, code 4 (RFC 1191) or ICMPv6 type 2 (RFC 4443, section 3.2), sent from `source`; also for
    IPv4 without Don't Fragment, as the tunnel does not fragment. This and the functions below return None
    where no error may be sent: `packet` is broken, an ICMP error itself, a later IPv4 fragment or to or from
    nobody in particular, or `source` is of the other IP version.
    """
    return _error(packet, source, v4=(3, 4), v6=(2, 0), rest=mtu)


def source_refused(packet: bytes, source: Address) -> bytes | None:
    """Return the error for a source address that was not assigned: ICMPv4 3/13, ICMPv6 1/5."""
    return _error(packet, source, v4=(3, 13), v6=(1, 5))


def no_route(packet: bytes, source: Address) -> bytes | None:
    """Return the error for an unroutable destination: ICMPv4 3/1, ICMPv6 1/0."""
    return _error(packet, source, v4=(3, 1), v6=(1, 0))


def _read_ipv4(packet: bytes) -> IpHeader:
    size = (packet[0] & 0x0F) * 4
    if size < 20 or len(packet) < size:
        raise DecodeError("an IPv4 header cut short")
    if int.from_bytes(packet[2:4]) != len(packet):
        raise DecodeError("an IPv4 packet of another length than it says")
    later = bool(int.from_bytes(packet[6:8]) & 0x1FFF)
    return IpHeader(IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[9], size, later)


def _read_ipv6(packet: bytes) -> IpHeader:
    if len(packet) < 40:
        raise DecodeError("an IPv6 header cut short")
    if int.from_bytes(packet[4:6]) + 40 != len(packet):
        raise DecodeError("an IPv6 packet of another length than it says")
    protocol, payload, later = _walk_extensions(packet)
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return IpHeader(source, destination, protocol, payload, later)


def _walk_extensions(packet: bytes) -> tuple[int, int, bool]:
    """Return protocol, offset of its header, and whether that header is in an earlier fragment."""
    # RFC 9484, section 4.8: "implementations that support scoping or routing by Internet Protocol Number MUST
    # walk the chain of extensions to find the outermost non-extension Internet Protocol Number".
    protocol, offset = packet[6], 40
    while protocol in _OPTIONS or protocol in (_FRAGMENT, _AUTHENTICATION):
        if len(packet) < offset + 8:
            raise DecodeError("an IPv6 extension header cut short")
        kind, protocol, length = protocol, packet[offset], packet[offset + 1]
        if kind == _FRAGMENT:
            later = int.from_bytes(packet[offset + 2 : offset + 4]) >> 3 != 0
            offset += 8
            if later:
                return protocol, offset, True
        else:
            offset += (length + 2) * 4 if kind == _AUTHENTICATION else (length + 1) * 8
    if offset > len(packet):
        raise DecodeError("an IPv6 extension header cut short")
    return protocol, offset, False


def _error(
    packet: bytes, source: Address, *, v4: tuple[int, int], v6: tuple[int, int], rest: int = 0
) -> bytes | None:
    """Return an ICMP error of (type, code) about `packet`, `rest` in the four bytes behind the checksum."""
    try:
        header = IpHeader.read(packet)
    except DecodeError:
        return None
    if header.version != source.version or not _may_answer(packet, header, too_big=v6[0] == 2):
        return None
    if isinstance(source, IPv4Address):
        # RFC 1812, section 4.3.2.3: "as much of the original datagram as possible without the length of the
        # ICMP datagram exceeding 576 bytes".
        body = _icmp(v4, rest, packet[: 576 - 28])
        return _ipv4(source, header.source, body[:2] + checksum(body).to_bytes(2) + body[4:])
    # RFC 4443, section 2.4(c): "Every ICMPv6 error message (type < 128) MUST include as much of the IPv6
    # offending (invoking) packet ... as possible without making the error message packet exceed the minimum
    # IPv6 MTU".
    body = _icmp(v6, rest, packet[: 1280 - 48])
    pseudo = source.packed + header.source.packed + len(body).to_bytes(4) + bytes([0, 0, 0, ICMPV6])
    return _ipv6(source, header.source, body[:2] + checksum(pseudo + body).to_bytes(2) + body[4:])


def _may_answer(packet: bytes, header: IpHeader, *, too_big: bool) -> bool:
    if _is_icmp_error(packet, header) or not _is_one_host(header.source):
        return False
    if header.version == 4:
        # RFC 1122, section 3.2.2: "An ICMP error message MUST NOT be sent as the result of receiving: an ICMP
        # error message, or a datagram destined to an IP broadcast or IP multicast address, or ... a
        # non-initial fragment, or a datagram whose source address does not define a single host".
        everyone = header.destination.is_multicast or header.destination == _BROADCAST
        return not (everyone or header.later_fragment)
    # RFC 4443, section 2.4(e.3): none for a packet destined to a multicast address, but "the Packet Too Big
    # Message (Section 3.2) to allow Path MTU discovery to work for IPv6 multicast".
    return too_big or not header.destination.is_multicast


def _is_icmp_error(packet: bytes, header: IpHeader) -> bool:
    if header.protocol != (ICMP if header.version == 4 else ICMPV6):
        return False
    if header.later_fragment or header.payload >= len(packet):
        return True  # cannot be told from an error, so it counts as one
    kind = packet[header.payload]
    return kind in _ICMP_ERRORS if header.version == 4 else kind < 128 or kind == _ICMPV6_REDIRECT


def _is_one_host(address: Address) -> bool:
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        return False
    return isinstance(address, IPv6Address) or not (address.is_reserved or int(address) >> 24 == 0)


def _icmp(kind: tuple[int, int], rest: int, quote: bytes) -> bytes:
    return bytes([*kind, 0, 0]) + rest.to_bytes(4) + quote


def _ipv4(source: IPv4Address, destination: Address, body: bytes) -> bytes:
    header = bytearray(20)
    header[0] = 0x45
    header[2:4] = (20 + len(body)).to_bytes(2)
    header[6] = 0x40  # Don't Fragment: an atomic datagram needs no Identification (RFC 6864, section 4.1)
    header[8], header[9] = HOP_LIMIT, ICMP
    header[12:16], header[16:20] = source.packed, destination.packed
    header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header) + body


def _ipv6(source: IPv6Address, destination: Address, body: bytes) -> bytes:
    start = bytes([0x60, 0, 0, 0]) + len(body).to_bytes(2) + bytes([ICMPV6, HOP_LIMIT])
    return start + source.packed + destination.packed + body
