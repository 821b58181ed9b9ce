"""ICMP errors for packets that this end does not pass on (RFC 9484, sections 7, 10 and 11).

They claim to come from the packet's own destination: that address is routed into the TUN device, so reverse
path filters let it pass, while an address of this machine, or one routed elsewhere, would be dropped.
"""

from collections.abc import Callable

from mqvpn.wire import ip
from mqvpn.wire.address import Address
from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.drop import Drop


def packet_too_big(packet: bytes, mtu: int) -> bytes | None:
    """Return the answer to a packet larger than `mtu` bytes; None where none may be sent."""
    return _from_destination(packet, lambda whole, source: ip.packet_too_big(whole, mtu, source))


def unreachable(packet: bytes, reason: int) -> bytes | None:
    """Return the answer to a packet dropped for `reason`, a Drop; None where none may be sent."""
    return _from_destination(packet, ip.source_refused if reason == Drop.SOURCE_NOT_ASSIGNED else ip.no_route)


def _from_destination(packet: bytes, build: Callable[[bytes, Address], bytes | None]) -> bytes | None:
    whole = packet.ljust(_length(packet), b"\0")
    try:
        destination = ip.IpHeader.read(whole).destination
    except DecodeError:
        return None
    return None if destination.is_multicast else build(whole, destination)


def _length(packet: bytes) -> int:
    """What the header says: the engine hands over as much of a packet as an ICMP error may quote, not all."""
    if packet[:1] >= b"\x60":
        return 40 + int.from_bytes(packet[4:6])
    return int.from_bytes(packet[2:4])
