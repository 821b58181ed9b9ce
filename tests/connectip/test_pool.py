"""The server's pool: who gets which address, and that no two clients share one."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mqvpn.connectip.pool import NOBODY, Exhausted, Lease, Owner, Pool
from mqvpn.wire.address import AssignedAddress, Network

SMALL = IPv4Network("10.0.0.0/29")  # clients .2 to .6


def last(lease: Lease) -> int:
    return lease.address.packed[-1]


def user(name: str, instance: str = "") -> Owner:
    return Owner(name, instance)


def wish(*addresses: str) -> list[Network]:
    return [ip_network(address) for address in addresses]


def test_server_first_then_clients_at_the_same_offset_in_both_families() -> None:
    pool = Pool(IPv4Network("10.8.0.0/24"), IPv6Network("fd00:8::/112"))
    assert (pool.gateway, pool.gateway6) == (IPv4Address("10.8.0.1"), IPv6Address("fd00:8::1"))
    assert pool.allocate() == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00:8::2"), NOBODY)
    ann = user("ann")
    assert pool.allocate(ann) == Lease(IPv4Address("10.8.0.3"), IPv6Address("fd00:8::3"), ann)
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


def test_the_same_owner_gets_its_address_again() -> None:
    pool = Pool(SMALL)
    ann, bob = pool.allocate(user("ann")), pool.allocate(user("bob"))
    pool.release(ann)
    pool.release(bob)
    assert pool.allocate(user("bob")) == bob
    assert last(pool.allocate(user("eve"))) == 4
    assert pool.allocate(user("ann")) == ann


def test_the_address_released_longest_ago_is_given_away_first() -> None:
    pool = Pool(SMALL)
    leases = {name: pool.allocate(user(name)) for name in "abcde"}
    for name in "cab":
        pool.release(leases[name])
    assert pool.allocate(user("new")).address == leases["c"].address
    assert pool.allocate(user("a")) == leases["a"]
    assert pool.allocate(user("c")).address == leases["b"].address  # its own is taken


def test_one_owner_may_hold_two_addresses_and_keeps_the_later_one() -> None:
    pool = Pool(SMALL)
    first, second = pool.allocate(user("ann")), pool.allocate(user("ann"))
    pool.release(first)
    pool.release(second)
    assert pool.allocate(user("ann")) == second
    others = [pool.allocate(user(name)) for name in ("bob", "eve", "dan")]
    assert pool.allocate(user("zoe")).address == first.address  # no longer kept for ann
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
    leases = [pool.allocate(user(str(number))) for number in range(pool.size)]
    assert len({lease.address for lease in leases}) == 4093
    for lease in leases:
        pool.release(lease)
    assert [pool.allocate(lease.owner) for lease in reversed(leases)] == leases[::-1]


def test_each_instance_of_a_user_gets_its_own_address_again() -> None:
    pool = Pool(SMALL)
    laptop, phone = pool.allocate(user("ann", "laptop")), pool.allocate(user("ann", "phone"))
    pool.release(laptop)
    pool.release(phone)
    assert pool.allocate(laptop.owner) == laptop
    assert pool.allocate(phone.owner) == phone


def test_a_new_instance_gets_the_users_last_address() -> None:
    pool = Pool(SMALL)
    leases = [pool.allocate(user("ann", name)) for name in ("first", "second")]
    pool.release(leases[1])
    pool.release(leases[0])
    assert pool.allocate(user("ann", "third")).address == leases[0].address
    assert pool.allocate(user("ann")).address == leases[1].address
    assert last(pool.allocate(user("ann", "fourth"))) == 4


def test_a_wish_is_granted_if_nobody_has_the_address() -> None:
    pool = Pool(SMALL, IPv6Network("fd00::/112"))
    assert last(pool.allocate(wish=wish("10.0.0.5"))) == 5
    assert last(pool.allocate(wish=wish("10.0.0.5"))) == 2
    assert last(pool.allocate(wish=wish("10.0.0.5", "fd00::6"))) == 6
    assert [last(pool.allocate()) for _ in range(2)] == [3, 4]


@pytest.mark.parametrize(
    "wanted",
    ["0.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.1.4", "10.0.0.4/31", "::", "fd00::4", "9.255.255.255"],
)
def test_a_wish_for_what_is_no_clients_address_of_ours(wanted: str) -> None:
    assert last(Pool(SMALL).allocate(wish=wish(wanted))) == 2


def test_a_wish_for_anothers_lease_is_not_granted_and_the_shared_key_reserves_nothing() -> None:
    pool = Pool(SMALL)
    ann, shared = pool.allocate(user("ann", "laptop")), pool.allocate(user("", "some instance"))
    pool.release(ann)
    pool.release(shared)
    assert last(pool.allocate(user("bob"), wish("10.0.0.2"))) == 4
    assert last(pool.allocate(wish=wish("10.0.0.2"))) == 5
    assert last(pool.allocate(user("ann", "phone"), wish("10.0.0.3"))) == 3
    assert last(pool.allocate(user("ann", "phone"), wish("10.0.0.2"))) == 2


def test_another_pool_goes_on_where_the_first_one_ended() -> None:
    pool = Pool(SMALL)
    ann, bob, cat = (pool.allocate(user(name)) for name in ("ann", "bob", "cat"))
    pool.release(cat)
    pool.release(ann)
    again = Pool(SMALL)
    again.remember(pool.leases())
    assert (again.in_use, [lease.owner.user for lease in again.leases()]) == (0, ["cat", "ann", "bob"])
    assert again.remembers(bob.owner)
    assert [last(again.allocate()) for _ in range(3)] == [5, 6, last(cat)]
    assert again.allocate(ann.owner) == ann
    assert again.allocate(bob.owner) == bob


def test_what_does_not_fit_into_a_changed_pool_is_forgotten() -> None:
    pool = Pool(IPv4Network("10.0.0.0/24"))
    leases = [pool.allocate(user(str(number))) for number in range(10)]
    smaller = Pool(SMALL, IPv6Network("fd00::/112"))
    taken = smaller.allocate(wish=wish("10.0.0.3"))
    smaller.remember([*leases, leases[0], Lease(IPv4Address("10.0.0.1"), None, user("eve"))])
    assert [last(lease) for lease in smaller.leases()] == [4, 5, 6, 2, last(taken)]
    assert smaller.allocate(user("0")).address6 == IPv6Address("fd00::2")


OWNERS = [NOBODY, user("a"), user("a", "1"), user("a", "2"), user("b"), user("", "1"), user("", "2")]


class PoolMachine(RuleBasedStateMachine):
    """Random allocations, wishes, releases and restarts against the leases that are out."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(SMALL, IPv6Network("fd00::/112"))
        self.out: list[Lease] = []

    @rule(owner=st.sampled_from(OWNERS), wanted=st.integers(0, 9), version=st.sampled_from([4, 6]))
    def allocate(self, owner: Owner, wanted: int, version: int) -> None:
        wanted_too = wish(f"10.0.0.{wanted}" if version == 4 else f"fd00::{wanted}")
        if len(self.out) == self.pool.size:
            with pytest.raises(Exhausted):
                self.pool.allocate(owner, wanted_too)
            return
        out = {last(lease) for lease in self.out}
        kept = {last(lease): lease.owner for lease in self.pool.leases() if last(lease) not in out}
        lease = self.pool.allocate(owner, wanted_too)
        self.out.append(lease)
        if owner != NOBODY and owner in kept.values():
            assert kept[last(lease)] == owner
        elif 2 <= wanted <= 6 and wanted not in out and kept.get(wanted, NOBODY).user in ("", owner.user):
            assert last(lease) == wanted
        elif owner.user in {other.user for other in kept.values()} - {""}:
            assert kept[last(lease)].user == owner.user
        elif len(out) + len(kept) < self.pool.size:
            assert last(lease) not in kept
        else:
            assert last(lease) == next(iter(kept))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pool.release(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))))

    @rule()
    def restart(self) -> None:
        former = self.pool.leases()
        self.pool = Pool(SMALL, IPv6Network("fd00::/112"))
        self.pool.remember(former)
        assert {last(lease) for lease in self.pool.leases()} == {last(lease) for lease in former}
        self.out = []

    @invariant()
    def no_address_has_two_owners(self) -> None:
        offsets = [last(lease) for lease in self.out]
        assert len(set(offsets)) == len(offsets) == self.pool.in_use
        assert all(2 <= offset <= 6 for offset in offsets)
        known = [last(lease) for lease in self.pool.leases()]
        assert len(set(known)) == len(known)
        assert known[len(known) - len(offsets) :] == offsets

    @invariant()
    def an_owner_is_remembered_once(self) -> None:
        free = self.pool.leases()[: -len(self.out) or None]
        owners = [lease.owner for lease in free if lease.owner != NOBODY]
        assert len(set(owners)) == len(owners)
        assert all(self.pool.remembers(owner) == (owner in owners) for owner in OWNERS)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=200, stateful_step_count=30)
