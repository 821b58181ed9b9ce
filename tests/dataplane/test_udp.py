"""Bursts and batches over real sockets: GSO and GRO, local addresses, ECN, and what is refused."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.dataplane.udp import Bursts, Datagrams, Sockets
from mqvpn.wire.drop import Drop
from tests.lab.net import Net

V4, V6 = socket.AF_INET, socket.AF_INET6
ANY = ("::", 0)
SO_NO_CHECK = 11

# family of the sockets, address of the sender, address of the receiver
WAYS = [(V4, "127.0.0.1", "127.0.0.2"), (V6, "::1", "::1"), (V6, "127.0.0.1", "127.0.0.2")]


class Pair:
    """Socket 0, the sender, and socket 1, the receiver; both bound to the wildcard address."""

    def __init__(self, family: int = V6) -> None:
        self.sockets = Sockets()
        self.handles = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
        self.bursts, self.batch = Bursts(), Datagrams()
        for number, handle in enumerate(self.handles):
            if family == V6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            handle.bind(("::" if family == V6 else "0.0.0.0", 0))
            self.sockets.add(number, handle.fileno(), family)
        self.ports = [handle.getsockname()[1] for handle in self.handles]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()

    def send(self, data: bytes, segment: int, to: str, source: tuple[str, int] = ANY) -> int:
        self.bursts.append(0, (to, self.ports[1]), source, data, segment)
        return self.sockets.send(self.bursts)

    def received(self, count: int) -> list[bytes]:
        """The next datagrams; the last batch stays in `batch`."""
        found: list[bytes] = []
        while len(found) < count:
            assert select.select([self.handles[1]], [], [], 5)[0], f"{len(found)} of {count} datagrams"
            self.sockets.receive(1, self.batch)
            found += [data for *_, data in self.batch.datagrams()]
        return found


@pytest.fixture
def pair() -> Iterator[Pair]:
    with contextlib.closing(Pair()) as pair:
        yield pair


def numbered(count: int, size: int) -> list[bytes]:
    return [bytes([index]) * size for index in range(count)]


@pytest.mark.parametrize(("family", "source", "to"), WAYS)
def test_a_burst_crosses_in_one_piece(family: int, source: str, to: str) -> None:
    with contextlib.closing(Pair(family)) as pair:
        datagrams = [*numbered(40, 1350), b"shorter"]
        assert pair.send(b"".join(datagrams), 1350, to) == 41
        assert len(pair.bursts) == 0
        assert pair.received(41) == datagrams
        assert len(pair.batch) == 1
        assert pair.sockets.offloads() == {0: (True, True), 1: (True, True)}
        assert pair.sockets.drops() == {Drop.SOCKET_SEND: 0}


@pytest.mark.parametrize(("family", "source", "to"), WAYS)
def test_addresses_of_both_ends_are_known(family: int, source: str, to: str) -> None:
    with contextlib.closing(Pair(family)) as pair:
        assert pair.send(b"hello", 0, to, (source, 0)) == 1
        pair.received(1)
        assert pair.batch.datagrams() == [(1, (source, pair.ports[0]), (to, pair.ports[1]), b"hello")]


@pytest.mark.parametrize(("family", "source", "to"), [WAYS[0], WAYS[2]])
@pytest.mark.parametrize("segments", [1, 5])
def test_a_wildcard_socket_sends_from_the_address_it_is_told(family: int, source: str, to: str, segments: int) -> None:
    with contextlib.closing(Pair(family)) as pair:
        pair.send(bytes(100 * segments), 100, to, ("127.0.0.9", 0))
        pair.received(segments)
        assert {remote[0] for _, remote, _, _ in pair.batch.datagrams()} == {"127.0.0.9"}


@pytest.mark.netns
def test_two_addresses_of_one_family_and_link_local(net: Net) -> None:
    """IPv6 needs a namespace: loopback has one address only."""
    from tests.dataplane.test_tun_kernel import inside

    space = net.namespace("udp")
    for address in ("fd09::1", "fd09::2"):
        space.ip("addr", "add", f"{address}/64", "dev", "lo", "nodad")
    other = net.namespace("peer")
    net.veth(space, "v0", other, "v1")
    space.ip("link", "set", "v0", "up")
    other.ip("link", "set", "v1", "up")
    space.ip("addr", "add", "fe80::9/64", "dev", "v0", "nodad")
    with inside(space), contextlib.closing(Pair()) as pair:
        index = socket.if_nametoindex("v0")
        for to, source in (("fd09::1", "fd09::2"), ("fd09::2", "fd09::1")):
            pair.send(bytes(300), 100, to, (source, 0))
            pair.received(3)
            assert {row[1:3] for row in pair.batch.datagrams()} == {((source, pair.ports[0]), (to, pair.ports[1]))}
        pair.send(b"local", 0, "fe80::9%v0", ("fe80::9%v0", 0))
        pair.received(1)
        [(_, remote, local, _)] = pair.batch.datagrams()
        assert (remote[0], local[0]) == (f"fe80::9%{index}", f"fe80::9%{index}")


@pytest.mark.parametrize("family", [V4, V6])
def test_long_bursts_are_split(family: int) -> None:
    with contextlib.closing(Pair(family)) as pair:
        to = "127.0.0.1" if family == V4 else "::1"
        for datagrams in (numbered(150, 440), numbered(5, 13200), numbered(1, 65487)):
            assert pair.send(b"".join(datagrams), len(datagrams[0]), to) == len(datagrams)
            assert pair.received(len(datagrams)) == datagrams


def test_all_bursts_of_a_batch_are_sent(pair: Pair) -> None:
    for index in range(8):
        pair.bursts.append(0, ("::1", pair.ports[1]), ANY, bytes([index]) * 10)
    assert pair.sockets.send(pair.bursts) == 8
    assert sorted(pair.received(8)) == [bytes([index]) * 10 for index in range(8)]


def test_more_than_a_batch_is_received_in_turns(pair: Pair) -> None:
    for index in range(10):
        pair.send(bytes([index] * (index + 1)), 0, "::1")
    assert pair.sockets.receive(1, pair.batch) == 8
    assert pair.sockets.receive(1, pair.batch) == 2
    assert pair.sockets.receive(1, pair.batch) == 0
    assert pair.batch.datagrams() == []


def test_empty_datagrams_are_passed_over(pair: Pair) -> None:
    sender, port = pair.handles[0], pair.ports[1]
    for data in (b"", b"one", b"", b"two!", b""):
        sender.sendto(data, ("::1", port))
    assert pair.received(2) == [b"one", b"two!"]
    for data in (b"three", b"", b"four"):
        sender.sendto(data, ("::1", port))
    assert pair.received(2) == [b"three", b"four"]


@pytest.mark.parametrize("to", ["::1", "127.0.0.1"])
def test_ecn_is_reported(pair: Pair, to: str) -> None:
    pair.handles[0].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0b10111001)
    pair.handles[0].setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0b10111001)
    pair.send(bytes(200), 100, to)
    pair.received(2)
    assert pair.batch.ecn() == [1]


@pytest.mark.parametrize(("to", "family"), [("::1", V4), ("255.255.255.255", V6), ("255.255.255.255", V4)])
def test_what_cannot_be_sent_is_counted(to: str, family: int) -> None:
    with contextlib.closing(Pair(family)) as pair:
        assert pair.send(bytes(1000), 100, to) == 0
        assert pair.sockets.drops()[Drop.SOCKET_SEND] == 10
        assert pair.sockets.offloads()[0][0]


def test_too_big_for_the_path_is_lost_and_the_offload_stays(pair: Pair) -> None:
    handle = pair.handles[0]
    handle.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER: IPV6_PMTUDISC_DO
    with contextlib.suppress(OSError):
        handle.setsockopt(socket.IPPROTO_IPV6, 24, 1280)  # IPV6_MTU
    assert pair.send(bytes(4000), 1300, "::1") in (0, 1)  # the last one is small enough
    assert pair.sockets.offloads()[0][0]
    assert pair.send(bytes(4000), 1000, "::1") == 4


def test_without_udp_segment_each_datagram_is_sent(pair: Pair) -> None:
    """UDP_SEGMENT needs checksums: the kernel answers EIO where they are switched off."""
    handle = pair.handles[0]
    handle.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    datagrams = [*numbered(70, 500), b"end"]
    for _ in range(2):
        assert pair.send(b"".join(datagrams), 500, "127.0.0.1", ("127.0.0.3", 0)) == 71
        assert pair.received(71) == datagrams
        assert {row[1][0] for row in pair.batch.datagrams()} == {"127.0.0.3"}
    assert pair.sockets.offloads()[0] == (False, True)
    assert pair.sockets.drops()[Drop.SOCKET_SEND] == 0


def test_a_removed_socket_drops(pair: Pair) -> None:
    pair.sockets.remove(0)
    assert pair.send(bytes(300), 100, "::1") == 0
    assert pair.sockets.drops()[Drop.SOCKET_SEND] == 3
    assert 0 not in pair.sockets.offloads()
    assert pair.sockets.receive(0, pair.batch) == 0


def test_names_and_descriptors_are_checked() -> None:
    sockets = Sockets()
    with pytest.raises(ValueError, match="socket 16"):
        sockets.remove(16)
    with pytest.raises(OSError, match="descriptor"):
        sockets.add(0, 9999, V6)


def test_a_full_receive_queue_is_no_error(pair: Pair) -> None:
    pair.handles[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(50):
        pair.send(bytes(60000), 1200, "::1")
    assert pair.received(1)


# Batches by themselves

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(network="2000::/3")).map(str)
ENDPOINTS = st.tuples(ADDRESSES, st.integers(0, 65535))


@pytest.mark.parametrize("kind", [Bursts, Datagrams])
@given(st.lists(st.tuples(st.integers(0, 15), ENDPOINTS, ENDPOINTS, st.binary(min_size=1)), max_size=8))
def test_batches_give_back_what_was_appended(
    kind: type[Bursts | Datagrams], rows: list[tuple[int, tuple[str, int], tuple[str, int], bytes]]
) -> None:
    batch = kind()
    for row in rows:
        batch.append(*row)
    assert batch.datagrams() == rows
    batch.clear()
    assert len(batch) == 0


@pytest.mark.parametrize("kind", [Bursts, Datagrams])
def test_segments_are_taken_apart(kind: type[Bursts | Datagrams]) -> None:
    batch = kind()
    batch.append(3, ("192.0.2.1", 1), ANY, b"aabbc", 2)
    assert [data for *_, data in batch.datagrams()] == [b"aa", b"bb", b"c"]


@pytest.mark.parametrize("kind", [Bursts, Datagrams])
def test_limits_of_a_batch(kind: type[Bursts | Datagrams]) -> None:
    batch = kind()
    for data in (b"", bytes(66001)):
        with pytest.raises(ValueError, match="8"):
            batch.append(0, ANY, ANY, data)
    for _ in range(8):
        batch.append(0, ANY, ANY, b"x")
    with pytest.raises(ValueError, match="8"):
        batch.append(0, ANY, ANY, b"x")


@pytest.mark.parametrize("host", ["example.org", "", "192.0.2.256", "::g"])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        Bursts().append(0, (host, 1), ANY, b"x")


def test_mapped_addresses_are_shown_as_ipv4() -> None:
    batch = Datagrams()
    batch.append(0, ("::ffff:192.0.2.7", 9), ANY, b"x")
    assert batch.datagrams()[0][1] == ("192.0.2.7", 9)
