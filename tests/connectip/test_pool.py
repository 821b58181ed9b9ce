"""The server's pool: who gets which address, and that no two clients share one."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mqvpn.connectip.pool import Exhausted, Lease, Pool
from mqvpn.wire.address import AssignedAddress

SMALL = IPv4Network("10.0.0.0/29")  # clients .2 to .6


def last(lease: Lease) -> int:
    return lease.address.packed[-1]


def test_server_first_then_clients_at_the_same_offset_in_both_families() -> None:
    pool = Pool(IPv4Network("10.8.0.0/24"), IPv6Network("fd00:8::/112"))
    assert (pool.gateway, pool.gateway6) == (IPv4Address("10.8.0.1"), IPv6Address("fd00:8::1"))
    assert pool.allocate() == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00:8::2"), None)
    assert pool.allocate("ann") == Lease(IPv4Address("10.8.0.3"), IPv6Address("fd00:8::3"), "ann")
    assert (pool.size, pool.in_use) == (253, 2)


def test_without_ipv6() -> None:
    pool = Pool(SMALL)
    lease = pool.allocate()
    assert pool.gateway6 is None
    assert lease.address6 is None
    assert lease.entries(4) == (AssignedAddress(4, IPv4Network("10.0.0.2/32")),)


def test_entries_are_single_addresses_with_ipv4_first() -> None:
    lease = Pool(SMALL, IPv6Network("fd00::/112")).allocate()
    assert lease.entries(4, 5) == (
        AssignedAddress(4, IPv4Network("10.0.0.2/32")),
        AssignedAddress(5, IPv6Network("fd00::2/128")),
    )


def test_exhausted_until_one_is_released() -> None:
    pool = Pool(SMALL)
    leases = [pool.allocate() for _ in range(pool.size)]
    assert [last(lease) for lease in leases] == [2, 3, 4, 5, 6]
    with pytest.raises(Exhausted, match="all 5 addresses"):
        pool.allocate()
    pool.release(leases[3])
    assert last(pool.allocate()) == 5


def test_the_same_identity_gets_its_address_again() -> None:
    pool = Pool(SMALL)
    ann, bob = pool.allocate("ann"), pool.allocate("bob")
    pool.release(ann)
    pool.release(bob)
    assert pool.allocate("bob") == bob
    assert last(pool.allocate("eve")) == 4
    assert pool.allocate("ann") == ann


def test_the_address_released_longest_ago_is_given_away_first() -> None:
    pool = Pool(SMALL)
    leases = {name: pool.allocate(name) for name in "abcde"}
    for name in "cab":
        pool.release(leases[name])
    assert pool.allocate("new").address == leases["c"].address
    assert pool.allocate("a") == leases["a"]
    assert pool.allocate("c").address == leases["b"].address  # its own is taken


def test_one_identity_may_hold_two_addresses_and_keeps_the_later_one() -> None:
    pool = Pool(SMALL)
    first, second = pool.allocate("ann"), pool.allocate("ann")
    pool.release(first)
    pool.release(second)
    assert pool.allocate("ann") == second
    others = [pool.allocate(name) for name in ("bob", "eve", "dan")]
    assert pool.allocate("zoe").address == first.address  # no longer kept for ann
    assert first.address not in {lease.address for lease in others}


def test_releasing_twice_is_an_error() -> None:
    pool = Pool(SMALL)
    lease = pool.allocate()
    pool.release(lease)
    with pytest.raises(ValueError, match="is not leased"):
        pool.release(lease)


def test_the_smaller_network_limits() -> None:
    assert Pool(IPv4Network("10.0.0.0/24"), IPv6Network("fd00::/126")).size == 2
    assert Pool(IPv4Network("10.0.0.0/30")).size == 1


@pytest.mark.parametrize(
    ("network", "network6"), [("10.0.0.0/31", None), ("10.0.0.0/32", None), ("10.0.0.0/24", "fd00::/127")]
)
def test_no_room_for_a_client(network: str, network6: str | None) -> None:
    with pytest.raises(ValueError, match="no address for a client"):
        Pool(IPv4Network(network), IPv6Network(network6) if network6 else None)


def test_a_large_pool_is_used_to_the_last_address() -> None:
    pool = Pool(IPv4Network("10.0.0.0/20"))
    leases = [pool.allocate(str(number)) for number in range(pool.size)]
    assert len({lease.address for lease in leases}) == 4093
    for lease in leases:
        pool.release(lease)
    assert [pool.allocate(lease.identity) for lease in reversed(leases)] == leases[::-1]


class PoolMachine(RuleBasedStateMachine):
    """Random allocations and releases against the set of leases that are out."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(SMALL)
        self.out: list[Lease] = []

    @rule(identity=st.sampled_from([None, "a", "b", "c"]))
    def allocate(self, identity: str | None) -> None:
        if len(self.out) == self.pool.size:
            with pytest.raises(Exhausted):
                self.pool.allocate(identity)
        else:
            self.out.append(self.pool.allocate(identity))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pool.release(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))))

    @invariant()
    def no_address_is_out_twice(self) -> None:
        offsets = [last(lease) for lease in self.out]
        assert len(set(offsets)) == len(offsets) == self.pool.in_use
        assert all(2 <= offset <= 6 for offset in offsets)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
