"""The values of the CONNECT-IP capsules: addresses and routes (RFC 9484, section 4.7).

Constructing a value that the RFC forbids is a ValueError, reading one is a DecodeError. Each list is a
complete snapshot: the next capsule of its kind replaces it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from itertools import pairwise
from typing import ClassVar, Self

from mqvpn.wire.buffer import DecodeError, Reader, Writer

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOTHING: tuple[Network, Network] = (IPv4Network("0.0.0.0/32"), IPv6Network("::/128"))


@dataclass(frozen=True, slots=True)
class AssignedAddress:
    """One entry of ADDRESS_ASSIGN. `request_id` 0: not in answer to a request."""

    request_id: int
    prefix: Network

    @property
    def refused(self) -> bool:
        """Whether this is the answer "no address was assigned" (0.0.0.0/32 or ::/128)."""
        return self.prefix in NOTHING

    def write(self, out: Writer) -> None:
        out.varint(self.request_id)
        _write_prefix(out, self.prefix)

    @classmethod
    def read(cls, src: Reader, *, lenient: bool = False) -> Self:
        return cls(src.varint(), _read_prefix(src, lenient=lenient))


@dataclass(frozen=True, slots=True)
class RequestedAddress:
    """One entry of ADDRESS_REQUEST; an all-zero address means any address of its version."""

    request_id: int
    prefix: Network

    def __post_init__(self) -> None:
        # RFC 9484, section 4.7.2: "Request IDs MUST NOT be reused by an endpoint and MUST NOT be zero."
        if self.request_id == 0:
            raise ValueError("a Request ID of zero")

    def write(self, out: Writer) -> None:
        out.varint(self.request_id)
        _write_prefix(out, self.prefix)

    @classmethod
    def read(cls, src: Reader) -> Self:
        request_id = src.varint()
        if request_id == 0:
            raise DecodeError("ADDRESS_REQUEST: a Request ID of zero")
        return cls(request_id, _read_prefix(src))


@dataclass(frozen=True, slots=True)
class AddressRange:
    """One entry of ROUTE_ADVERTISEMENT, both ends included. `protocol` 0: every protocol."""

    start: Address
    end: Address
    protocol: int = 0

    def __post_init__(self) -> None:
        # RFC 9484, section 4.7.3: "The Start IP Address MUST be less than or equal to the End IP Address."
        if self.start.version != self.end.version or int(self.start) > int(self.end):
            raise ValueError(f"{self.start} to {self.end} is no range")
        if not 0 <= self.protocol <= 255:
            raise ValueError(f"{self.protocol} is no Internet Protocol Number")

    def write(self, out: Writer) -> None:
        out.uint8(self.start.version)
        out.write(self.start.packed)
        out.write(self.end.packed)
        out.uint8(self.protocol)

    @classmethod
    def read(cls, src: Reader) -> Self:
        version = _read_version(src)
        start, end = _read_address(src, version), _read_address(src, version)
        if int(start) > int(end):
            raise DecodeError(f"ROUTE_ADVERTISEMENT: {start} to {end} is no range")
        return cls(start, end, src.uint8())


@dataclass(frozen=True, slots=True)
class AddressAssign:
    """ADDRESS_ASSIGN: every prefix the receiver may use as source; empty withdraws all."""

    type: ClassVar[int] = 0x01
    addresses: tuple[AssignedAddress, ...]

    def write(self, out: Writer) -> None:
        for address in self.addresses:
            address.write(out)

    @classmethod
    def read(cls, src: Reader, *, lenient: bool = False) -> Self:
        """Read to the end; `lenient` takes an IPv6 prefix with host bits as that one address."""
        addresses = []
        while src.remaining:
            addresses.append(AssignedAddress.read(src, lenient=lenient))
        return cls(tuple(addresses))


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """ADDRESS_REQUEST: one or more wishes, each to be answered under its Request ID."""

    type: ClassVar[int] = 0x02
    addresses: tuple[RequestedAddress, ...]

    def __post_init__(self) -> None:
        if fault := _request_fault(self.addresses):
            raise ValueError(fault)

    def write(self, out: Writer) -> None:
        for address in self.addresses:
            address.write(out)

    @classmethod
    def read(cls, src: Reader) -> Self:
        addresses = []
        while src.remaining:
            addresses.append(RequestedAddress.read(src))
        if fault := _request_fault(addresses):
            raise DecodeError(fault)
        return cls(tuple(addresses))


@dataclass(frozen=True, slots=True)
class RouteAdvertisement:
    """ROUTE_ADVERTISEMENT: every range the sender forwards to, ordered by version, protocol and address."""

    type: ClassVar[int] = 0x03
    ranges: tuple[AddressRange, ...]

    def __post_init__(self) -> None:
        if fault := _order_fault(self.ranges) or _overlap_fault(self.ranges):
            raise ValueError(fault)

    def write(self, out: Writer) -> None:
        for item in self.ranges:
            item.write(out)

    @classmethod
    def read(cls, src: Reader) -> Self:
        ranges = []
        while src.remaining:
            ranges.append(AddressRange.read(src))
        # RFC 9484, section 4.7.3: "If an endpoint receives a ROUTE_ADVERTISEMENT capsule that does not meet
        # these requirements, it MUST abort the IP proxying request stream."
        if fault := _order_fault(ranges) or _overlap_fault(ranges):
            raise DecodeError(fault)
        return cls(tuple(ranges))


def ranges_of(prefixes: Iterable[Network]) -> tuple[AddressRange, ...]:
    """These prefixes, which may overlap, for every protocol; IPv4 first."""
    both = list(prefixes)
    found: list[AddressRange] = []
    for version in (4, 6):
        one = [prefix for prefix in both if prefix.version == version]
        found += [AddressRange(net[0], net[-1]) for net in collapse_addresses(one)]  # type: ignore[type-var]
    return tuple(found)


def _request_fault(addresses: Sequence[RequestedAddress]) -> str | None:
    # RFC 9484, section 4.7.2: "If an endpoint receives an ADDRESS_REQUEST capsule that contains zero
    # Requested Addresses, it MUST abort the IP proxying request stream."
    if not addresses:
        return "ADDRESS_REQUEST: no Requested Address"
    if len({address.request_id for address in addresses}) < len(addresses):
        return "ADDRESS_REQUEST: a Request ID twice"
    return None


def _order_fault(ranges: Sequence[AddressRange]) -> str | None:
    for a, b in pairwise(ranges):
        before, after = (a.start.version, a.protocol), (b.start.version, b.protocol)
        # "The IP Version of A MUST be less than or equal to the IP Version of B."
        # "If the IP Version of A and B are equal, the IP Protocol of A MUST be less than or equal to the IP
        # Protocol of B." "If the IP Version and IP Protocol of A and B are both equal, the End IP Address of
        # A MUST be strictly less than the Start IP Address of B."
        if before > after or (before == after and int(a.end) >= int(b.start)):
            return f"ROUTE_ADVERTISEMENT: {b.start} to {b.end} is out of order"
    return None


def _overlap_fault(ranges: Sequence[AddressRange]) -> str | None:
    # "Since setting the IP protocol to zero indicates all protocols are allowed, the requirements above make
    # it possible for two routes to overlap when one has its IP protocol set to zero and the other has it set
    # to non-zero. Endpoints MUST NOT send a ROUTE_ADVERTISEMENT capsule with routes that overlap in such a
    # way."
    for version in (4, 6):
        every = [item for item in ranges if item.start.version == version and item.protocol == 0]
        starts = [int(item.start) for item in every]
        for item in ranges:
            if item.start.version != version or item.protocol == 0:
                continue
            below = bisect_right(starts, int(item.end)) - 1
            if below >= 0 and int(every[below].end) >= int(item.start):
                return f"ROUTE_ADVERTISEMENT: {item.start} to {item.end} overlaps a range for every protocol"
    return None


def _read_version(src: Reader) -> int:
    # RFC 9484, section 4.7: "It MUST be either 4 or 6."
    version = src.uint8()
    if version not in (4, 6):
        raise DecodeError(f"IP Version {version}")
    return version


def _read_address(src: Reader, version: int) -> Address:
    return IPv4Address(src.take(4)) if version == 4 else IPv6Address(src.take(16))


def _write_prefix(out: Writer, prefix: Network) -> None:
    out.uint8(prefix.version)
    out.write(prefix.network_address.packed)
    out.uint8(prefix.prefixlen)


def _read_prefix(src: Reader, *, lenient: bool = False) -> Network:
    address = _read_address(src, _read_version(src))
    length = src.uint8()
    # RFC 9484, section 4.7.1: "This MUST be less than or equal to the length of the IP Address field in
    # bits."
    if length > address.max_prefixlen:
        raise DecodeError(f"a prefix of {length} bits in IPv{address.version}")
    network: Network
    if isinstance(address, IPv4Address):
        network = IPv4Network((address, length), strict=False)
    else:
        network = IPv6Network((address, length), strict=False)
    # "the lower bits of the IP Address field that are not covered by the prefix length MUST all be set to 0."
    if network.network_address != address:
        if lenient and isinstance(address, IPv6Address):
            return IPv6Network(address)  # the C mqvpn writes its host address with the pool's prefix length
        raise DecodeError(f"bits set beyond the prefix in {address}/{length}")
    return network
