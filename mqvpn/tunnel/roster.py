"""Who has a tunnel of the server's: the clients, their places, and whose addresses are whose.

A newer session of the same user and instance takes the older one's lease over, so that its address leads to it at
once. A client that will ask for its last address has a place, but no lease, until it has asked.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network

from mqvpn.connectip.error import Refused
from mqvpn.connectip.pool import NOBODY, Lease, Owner, Pool
from mqvpn.connectip.session import Session
from mqvpn.dataplane.engine import ReorderRule
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel import http3
from mqvpn.wire.address import Network


@dataclass(slots=True)
class Client:
    """One connection, and its session once there is one."""

    number: int
    connection: MultipathConnection
    cids: tuple[bytes, ...]
    source: IPv4Address | IPv6Network  # server.source() of the address it came from
    http: http3.Http3 | None = None
    stream_id: int | None = None
    session: Session = field(default_factory=Session)
    lease: Lease | None = None
    owner: Owner = NOBODY
    refusals: int = 0
    spread: bool = False  # flows of this session may use several paths at once
    reorder: tuple[ReorderRule, ...] = ()  # or these UDP flows of it, as the C mqvpn has it

    @property
    def user(self) -> str:
        """The user's name, "" for a holder of the shared key."""
        return self.owner.user

    @property
    def addresses(self) -> tuple[Network, ...]:
        """The inner addresses assigned to the client."""
        return () if self.lease is None else tuple(entry.prefix for entry in self.lease.entries())


class Roster:
    """At most `max_clients`, and as many as `pool` has addresses."""

    def __init__(self, pool: Pool, max_clients: int) -> None:
        self._pool = pool
        self._max_clients = max_clients
        self._places = min(max_clients, pool.size)
        self._asking: set[int] = set()  # numbers of clients that have a place without a lease
        self._by_instance: dict[Owner, Client] = {}  # of those with a lease that name an instance

    @property
    def active(self) -> int:
        """How many places are taken."""
        return self._pool.in_use + len(self._asking)

    def enter(self, client: Client, owner: Owner) -> None:
        """Give a client a place. Raises Refused if there is none left."""
        if owner not in self._by_instance and self.active >= self._places:
            full = f"MaxClients = {self._max_clients}"
            raise Refused(503, f"{full} is reached" if self.active >= self._max_clients else "no address is free")
        client.owner = owner
        self._asking.add(client.number)

    def may_wish(self, client: Client) -> bool:
        """Whether it depends on the wish of a client, which has entered, what address it gets."""
        return client.owner not in self._by_instance and not self._pool.remembers(client.owner)

    def asks(self, client: Client) -> bool:
        """Whether a client has entered and waits for its addresses."""
        return client.number in self._asking

    def lease(self, client: Client, wish: Iterable[Network] = ()) -> tuple[Lease, Client | None]:
        """Give a client that has entered its addresses: those of `wish` if they can be given to it.

        Returns them, and the client whose they were until now: it has left by that.
        """
        self._asking.discard(client.number)
        older = self._by_instance.get(client.owner)
        if older is not None and older.lease is not None:
            lease, older.lease = older.lease, None
        else:
            lease = self._pool.allocate(client.owner, wish)
        client.lease = lease
        if client.owner.instance:
            self._by_instance[client.owner] = client
        return lease, older

    def leave(self, client: Client) -> bool:
        """Take a client's place and lease back; False: it had none."""
        lease, client.lease = client.lease, None
        if lease is not None:
            self._pool.release(lease)
        if self._by_instance.get(client.owner) is client:
            del self._by_instance[client.owner]
        had_place = lease is not None or self.asks(client)
        self._asking.discard(client.number)
        return had_place
