"""ICMP errors for packets that this end cannot send into the tunnel (RFC 9484, sections 7 and 10).

They claim to come from the packet's own destination: that address is routed into the TUN device, so reverse
path filters let it pass, while an address of this machine, or one routed elsewhere, would be dropped.
"""

from collections.abc import Callable

from mqvpn.wire import ip
from mqvpn.wire.address import Address
from mqvpn.wire.buffer import DecodeError


def packet_too_big(packet: bytes, mtu: int) -> bytes | None:
    """Return the answer to a packet larger than `mtu` bytes; None where none may be sent."""
    return _from_destination(packet, lambda source: ip.packet_too_big(packet, mtu, source))


def unreachable(packet: bytes) -> bytes | None:
    """Return the answer to a packet that no session takes; None where none may be sent."""
    return _from_destination(packet, lambda source: ip.no_route(packet, source))


def _from_destination(packet: bytes, build: Callable[[Address], bytes | None]) -> bytes | None:
    try:
        destination = ip.IpHeader.read(packet).destination
    except DecodeError:
        return None
    return None if destination.is_multicast else build(destination)
