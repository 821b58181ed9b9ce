"""The server's pool of inner addresses.

The server itself is `.1`, clients follow from `.2`; the IPv6 address has the same offset in its network and
is assigned as a /128. A client that comes back under the same identity gets its former address unless it had
to be given away; the address released longest ago goes first. Every step takes constant time.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from mqvpn.wire.address import AssignedAddress

GATEWAY_OFFSET = 1


class Exhausted(Exception):
    """Every address of the pool is in use."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The addresses of one client. `identity`: under whom the pool remembers them, None for nobody."""

    address: IPv4Address
    address6: IPv6Address | None
    identity: str | None

    def entries(self, request_id: int = 0, request_id6: int = 0) -> tuple[AssignedAddress, ...]:
        """Return the lease as entries of ADDRESS_ASSIGN, IPv4 first."""
        entry = AssignedAddress(request_id, IPv4Network(self.address))
        if self.address6 is None:
            return (entry,)
        return entry, AssignedAddress(request_id6, IPv6Network(self.address6))


class Pool:
    """Hands out addresses of `network` and, at the same offset, of `network6`.

    The smaller of the two networks limits the number of clients. ValueError if there is room for none.
    """

    def __init__(self, network: IPv4Network, network6: IPv6Network | None = None) -> None:
        last = network.num_addresses - 2  # the last address is the broadcast address
        if network6 is not None:
            last = min(last, network6.num_addresses - 1)
        if last <= GATEWAY_OFFSET:
            raise ValueError(f"{network6 or network} has no address for a client")
        self.network, self.network6 = network, network6
        self._last = last
        self._next = GATEWAY_OFFSET + 1  # the lowest offset that was never used
        self._used: set[int] = set()
        self._free: OrderedDict[int, str | None] = OrderedDict()  # released offsets, oldest first, and whose
        self._former: dict[str, int] = {}  # identity -> its offset in _free

    @property
    def gateway(self) -> IPv4Address:
        """The server's own inner address."""
        return self.network[GATEWAY_OFFSET]

    @property
    def gateway6(self) -> IPv6Address | None:
        """The server's own inner IPv6 address."""
        return None if self.network6 is None else self.network6[GATEWAY_OFFSET]

    @property
    def size(self) -> int:
        """How many clients fit."""
        return self._last - GATEWAY_OFFSET

    @property
    def in_use(self) -> int:
        """How many leases are out."""
        return len(self._used)

    def allocate(self, identity: str | None = None) -> Lease:
        """Lease an address: the client's former one, else one nobody had, else any. Raises Exhausted."""
        offset = None if identity is None else self._former.get(identity)
        if offset is None:
            offset = self._fresh_offset()
        if offset is None:
            offset = self._oldest_offset()
        self._forget(offset)
        self._used.add(offset)
        address6 = None if self.network6 is None else self.network6[offset]
        return Lease(self.network[offset], address6, identity)

    def release(self, lease: Lease) -> None:
        """Take `lease` back and remember whose it was; ValueError if it is not out."""
        offset = int(lease.address) - int(self.network.network_address)
        if offset not in self._used:
            raise ValueError(f"{lease.address} is not leased")
        self._used.remove(offset)
        identity = lease.identity
        if identity is not None:
            if (older := self._former.pop(identity, None)) is not None:
                self._free[older] = None
            self._former[identity] = offset
        self._free[offset] = identity

    def _fresh_offset(self) -> int | None:
        if self._next > self._last:
            return None
        self._next += 1
        return self._next - 1

    def _oldest_offset(self) -> int:
        if not self._free:
            raise Exhausted(f"all {self.size} addresses of {self.network} are in use")
        return next(iter(self._free))

    def _forget(self, offset: int) -> None:
        identity = self._free.pop(offset, None)
        if identity is not None:
            del self._former[identity]
