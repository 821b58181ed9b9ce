"""What one end of a tunnel may send, as plain prefixes for the engine (RFC 9484, sections 4.6 to 4.8).

Sources are what was assigned to the sender, destinations are what the receiver advertised, cut down to the
request's scope. ICMP passes whatever the protocol says. Policy.check() is the rule itself, for one packet.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range
from itertools import chain

from mqvpn.connectip.error import StreamError
from mqvpn.connectip.request import Scope
from mqvpn.wire.address import Address, AddressRange, AssignedAddress, Network
from mqvpn.wire.drop import Drop
from mqvpn.wire.http3 import H3ErrorCode
from mqvpn.wire.ip import ICMP, ICMPV6, IpHeader

MAX_DESTINATIONS = 4096  # prefixes; a single IPv6 range can be 254 of them

_LINK_LOCAL: tuple[Network, ...] = (
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/24"),
    IPv6Network("fe80::/10"),
    IPv6Network("ff02::/16"),
)


@dataclass(frozen=True, slots=True)
class Destination:
    """Packets may go to `prefix` with `protocol` (0: any) and always with ICMP."""

    prefix: Network
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One direction of a tunnel."""

    sources: tuple[Network, ...]
    destinations: tuple[Destination, ...]

    def check(self, header: IpHeader) -> Drop | None:
        """Return why the packet must not pass, or None if it may."""
        # RFC 9484, section 7.2: "Implementers need to ensure that they do not forward any link-local traffic
        # beyond the IP proxying interface that it was received on."
        if any(header.source in prefix or header.destination in prefix for prefix in _LINK_LOCAL):
            return Drop.LINK_LOCAL
        if not any(header.source in prefix for prefix in self.sources):
            return Drop.SOURCE_NOT_ASSIGNED
        protocols = {rule.protocol for rule in self.destinations if header.destination in rule.prefix}
        if not protocols:
            return Drop.NO_ROUTE
        # Section 4.7.3: "ICMP traffic is always allowed, regardless of the value of this field."
        icmp = header.protocol == (ICMP if header.version == 4 else ICMPV6)
        return None if icmp or protocols & {0, header.protocol} else Drop.POLICY


def policy(
    assigned: Iterable[AssignedAddress], ranges: Iterable[AddressRange], scope: Scope | None = None
) -> Policy:
    """Return what a sender that was assigned `assigned` may send to a peer that advertised `ranges`.

    A DNS name in `scope` does not narrow: the routes advertised for it do (RFC 9484, section 4.6). Raises
    StreamError if the ranges make more than MAX_DESTINATIONS prefixes.
    """
    destinations: dict[Destination, None] = {}
    for destination in chain.from_iterable(_narrow(item, scope or Scope()) for item in ranges):
        destinations[destination] = None
        if len(destinations) > MAX_DESTINATIONS:
            reason = f"routes of more than {MAX_DESTINATIONS} prefixes"
            raise StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, reason)
    return Policy(tuple(address.prefix for address in assigned), tuple(destinations))


def _narrow(item: AddressRange, scope: Scope) -> Iterator[Destination]:
    """Yield the part of `item` inside `scope` as prefixes."""
    if scope.protocol is not None and item.protocol not in (0, scope.protocol):
        return
    protocol = item.protocol if scope.protocol is None else scope.protocol
    start, end = item.start, item.end
    if isinstance(scope.target, IPv4Network | IPv6Network):
        if scope.target.version != start.version:
            return
        start = max(start, scope.target.network_address, key=int)
        end = min(end, scope.target.broadcast_address, key=int)
    if int(start) > int(end):
        return
    for prefix in _prefixes(start, end):
        yield Destination(prefix, protocol)


def _prefixes(start: Address, end: Address) -> Iterator[Network]:
    if isinstance(start, IPv4Address):
        return summarize_address_range(start, IPv4Address(end))
    return summarize_address_range(start, IPv6Address(end))
