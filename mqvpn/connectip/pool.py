"""The server's pool of inner addresses.

The server itself is `.1`, clients follow from `.2`; the IPv6 address has the same offset in its network and
is assigned as a /128. A lease that was given back stays its owner's as long as nobody else needs the address: the
one released longest ago goes first, after those that nobody ever had. Every step takes constant time.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain, islice

from mqvpn.wire.address import AssignedAddress, Network

GATEWAY_OFFSET = 1


class Exhausted(Exception):
    """Every address of the pool is in use."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a lease is. `user` "": a holder of the shared key; `instance` "": the client named none."""

    user: str = ""
    instance: str = ""


NOBODY = Owner()


@dataclass(frozen=True, slots=True)
class Lease:
    """The addresses of one client."""

    address: IPv4Address
    address6: IPv6Address | None
    owner: Owner

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
        self._next = GATEWAY_OFFSET + 1  # no lower offset was never used
        self._used: dict[int, Owner] = {}  # in the order they were leased
        self._free: OrderedDict[int, Owner] = OrderedDict()  # released offsets, oldest first, and whose
        self._former: dict[Owner, int] = {}  # an owner's offset in _free, of everybody but NOBODY
        self._of_user: dict[str, dict[int, None]] = {}  # a user's offsets in _free, oldest first

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

    def remembers(self, owner: Owner) -> bool:
        """Whether `owner` would get its former address again."""
        return owner in self._former

    def allocate(self, owner: Owner = NOBODY, wish: Iterable[Network] = ()) -> Lease:
        """Lease an address: the owner's former one; else the first of `wish` that is free and no other user's; else
        the user's last one; else one nobody had; else any. Raises Exhausted."""
        offset = self._former.get(owner)
        if offset is None:
            offset = self._wished_offset(owner, wish)
        if offset is None and owner.user in self._of_user:
            offset = next(reversed(self._of_user[owner.user]))
        if offset is None:
            offset = self._fresh_offset()
        if offset is None:
            offset = self._oldest_offset()
        self._forget(offset)
        self._used[offset] = owner
        return self._lease(offset, owner)

    def release(self, lease: Lease) -> None:
        """Take `lease` back and remember whose it was; ValueError if it is not out."""
        offset = self._offset(lease.address)
        if self._used.get(offset) != lease.owner:
            raise ValueError(f"{lease.address} is not leased")
        del self._used[offset]
        self._remember(offset, lease.owner)

    def leases(self, newest: int | None = None) -> list[Lease]:
        """The leases that are out or remembered, the one that is to be given away first at the beginning; all of
        them, or so many of the newest."""
        latest = islice(chain(reversed(self._used.items()), reversed(self._free.items())), newest)
        return [self._lease(*entry) for entry in reversed(list(latest))]

    def remember(self, leases: Iterable[Lease]) -> None:
        """Take leases() of an earlier pool as given back in that order; those that do not fit are left out."""
        for lease in leases:
            offset = self._offset(lease.address)
            if self._is_ours(offset) and offset not in self._used:
                self._forget(offset)
                self._remember(offset, lease.owner)

    def _remember(self, offset: int, owner: Owner) -> None:
        if (older := self._former.get(owner)) is not None:
            self._disown(older)
            self._free[older] = NOBODY
        self._free[offset] = owner
        if owner != NOBODY:
            self._former[owner] = offset
        if owner.user:
            self._of_user.setdefault(owner.user, {})[offset] = None

    def _forget(self, offset: int) -> None:
        if offset in self._free:
            self._disown(offset)
            del self._free[offset]

    def _disown(self, offset: int) -> None:
        owner = self._free[offset]
        self._former.pop(owner, None)
        if owner.user:
            offsets = self._of_user[owner.user]
            del offsets[offset]
            if not offsets:
                del self._of_user[owner.user]

    def _wished_offset(self, owner: Owner, wish: Iterable[Network]) -> int | None:
        for prefix in wish:
            if prefix.prefixlen == prefix.max_prefixlen and (prefix.version == 4 or self.network6 is not None):
                offset = self._offset(prefix.network_address)
                # The shared key reserves nothing: its holders cannot be told apart.
                other = self._free.get(offset, NOBODY).user not in ("", owner.user)
                if self._is_ours(offset) and offset not in self._used and not other:
                    return offset
        return None

    def _fresh_offset(self) -> int | None:
        while self._next in self._used or self._next in self._free:
            self._next += 1
        return self._next if self._next <= self._last else None

    def _oldest_offset(self) -> int:
        if not self._free:
            raise Exhausted(f"all {self.size} addresses of {self.network} are in use")
        return next(iter(self._free))

    def _offset(self, address: IPv4Address | IPv6Address) -> int:
        network = self.network if address.version == 4 else self.network6
        return -1 if network is None else int(address) - int(network.network_address)

    def _is_ours(self, offset: int) -> bool:
        return GATEWAY_OFFSET < offset <= self._last

    def _lease(self, offset: int, owner: Owner) -> Lease:
        address6 = None if self.network6 is None else self.network6[offset]
        return Lease(self.network[offset], address6, owner)
