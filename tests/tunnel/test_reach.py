"""Links that carried nothing for long carry again, and nothing on this machine tells: the server is asked, and a new
attempt begins as soon as it answers. Against a real server, in virtual time; and the rules by which it is asked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from mqvpn.tunnel import events
from mqvpn.tunnel.client import ClientTunnel
from mqvpn.tunnel.invariants import LongHeader, version_negotiation
from mqvpn.tunnel.paths import Role, Uplink
from mqvpn.tunnel.reach import INTERVAL, LONG, MOST_WAYS, SELDOM, SPARING, Reach
from mqvpn.tunnel.state import State
from mqvpn.wire.question import DATAGRAM
from tests.tunnel.pair import SERVER, End, Network, is_up

WAYS = [Uplink(f"eth{number}", number, SERVER) for number in range(3)]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def answer(question: bytes) -> bytes:
    header = LongHeader.read(question)
    assert header is not None
    return version_negotiation(header, (1,))


def waiting(network: Network, links: int = 2) -> End:
    """A client whose links are all dead, so that its attempt came to nothing, and which waits for the next."""
    client = network.client(links)
    network.dead.add(SERVER)
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 15)
    tunnel_of(client).ask(network.now)
    return client


def tunnel_of(end: End) -> ClientTunnel:
    assert isinstance(end.tunnel, ClientTunnel)
    return end.tunnel


def test_links_that_were_dead_for_ten_minutes(network: Network) -> None:
    client = waiting(network)
    network.run(600)
    assert client.of(events.ServerBack) == []
    network.dead.clear()
    assert network.run_until(lambda: bool(client.of(events.ServerBack)), INTERVAL + 0.1)
    assert client.of(events.ServerBack)[0].remote == SERVER
    assert client.of(events.ServerBack)[0].interface in ("eth0", "eth1")


def test_one_of_them_is_enough(network: Network) -> None:
    client = waiting(network)
    network.run(100)
    network.dead = {client.address}  # the first
    assert network.run_until(lambda: bool(client.of(events.ServerBack)), INTERVAL + 0.1)
    assert client.of(events.ServerBack) == [events.ServerBack("eth1", SERVER)]


def test_a_handshake_under_way_begins_anew(network: Network) -> None:
    """Its packets go out 0.3 s, 0.9 s, 2.1 s, 4.5 s and 9.3 s after its beginning."""
    client, began = network.client(), network.now
    network.dead.add(SERVER)
    network.start(client)
    network.run(6.5)
    network.dead.clear()
    assert network.run_until(lambda: is_up(client), 15)
    assert network.now - began < 6.5 + INTERVAL * 2 / 3 + 0.5
    assert tunnel_of(client).state is State.UP


def test_a_server_that_answers_all_the_time_says_nothing_new(network: Network) -> None:
    """It refused us, say: how often it is asked for a tunnel, the backoff decides."""
    client = network.client(key=b"a guess")
    network.start(client)
    assert network.run_until(lambda: bool(client.of(events.Closed)), 2)
    tunnel_of(client).ask(network.now)
    network.run(300)
    assert client.of(events.ServerBack) == []


def test_nobody_is_asked_when_the_next_attempt_begins_or_a_tunnel_is_up(network: Network) -> None:
    client = waiting(network)
    client.tunnel.discard()
    assert client.tunnel.next_timeout() is None
    other = network.client()
    network.dead.clear()
    network.start(other)
    network.run_until(lambda: is_up(other))
    sent: list[bytes] = []
    carry = network._carry
    network._carry = lambda *way: (sent.append(way[3]), carry(*way))[1]  # type: ignore[method-assign]
    network.run(60)
    assert sent
    assert not [datagram for datagram in sent if len(datagram) == DATAGRAM and datagram[0] & 0x80]


def asked(reach: Reach, seconds: float, now: float = 100.0, answers: bool = False) -> list[tuple[float, int]]:
    """When it asked in so many seconds, and by which socket."""
    found = []
    end = now + seconds
    while (at := reach.next_timeout()) is not None and at < end:
        for (socket, remote), question in reach.questions(at):
            found.append((at, socket))
            if answers:
                reach.is_back((socket, remote), answer(question))
    return found


def test_each_way_has_its_own_irregular_time_and_backups_are_asked_seldom() -> None:
    reach = Reach()
    reach.watch(WAYS, {"eth2"}, 100.0)
    found = asked(reach, 600)
    for socket, interval in ((0, INTERVAL), (1, INTERVAL), (2, SPARING)):
        times = [at for at, number in found if number == socket]
        assert 600 / interval <= len(times) <= 1.5 * 600 / interval + 1
        gaps = [after - before for before, after in pairwise(times)]
        assert interval * 2 / 3 - 0.01 < min(gaps) < max(gaps) < interval + 0.01
        assert len({round(gap, 3) for gap in gaps}) > len(gaps) / 2


def test_after_an_hour_it_asks_seldom() -> None:
    reach = Reach()
    reach.watch(WAYS[:1], (), 100.0)
    asked(reach, LONG)
    assert 3600 / INTERVAL / SELDOM <= len(asked(reach, LONG, 100.0 + LONG)) <= 1.5 * 3600 / INTERVAL / SELDOM + 2


def test_no_more_than_so_many_ways_are_asked_however_many_there_were() -> None:
    reach = Reach()
    for number in range(50):
        reach.watch([Uplink("eth0", number, ("192.0.2.1", port)) for port in range(40)], (), 100.0)
        assert len(reach._ways) <= 5 * MOST_WAYS
    assert len(asked(reach, INTERVAL + 0.01)) in range(MOST_WAYS, 2 * MOST_WAYS + 1)


def test_only_the_answer_after_silence_counts_and_only_the_asked_can_give_it() -> None:
    reach, key = Reach(), (0, SERVER)
    reach.watch(WAYS[:1], (), 100.0)
    asked(reach, 5 * INTERVAL)
    [(_, question)] = reach.questions(200.0)
    assert not reach.is_back(key, question)  # thrown back
    assert not reach.is_back((0, ("192.0.2.9", 4433)), answer(question))  # from elsewhere
    assert not reach.is_back((1, SERVER), answer(question))
    forged = bytearray(answer(question))
    forged[-6] ^= 1  # in our connection ID
    assert not reach.is_back(key, bytes(forged))
    assert reach.is_back(key, answer(question))
    assert not reach.is_back(key, answer(question))  # once
    assert asked(reach, 60, 200.0, answers=True)
    [(_, question)] = reach.questions(300.0)
    assert not reach.is_back(key, answer(question))  # it was there all the time


def test_an_answer_that_takes_longer_than_the_interval_is_one() -> None:
    reach, key = Reach(), (0, SERVER)
    reach.watch(WAYS[:1], (), 100.0)
    [(_, first)] = reach.questions(103.0)
    assert reach.questions(106.0)
    assert reach.is_back(key, answer(first))


def test_what_is_known_of_a_way_outlives_an_attempt_but_not_a_tunnel() -> None:
    reach, key = Reach(), (0, SERVER)
    for forgotten in (False, True):
        reach.watch(WAYS[:1], (), 100.0)
        asked(reach, 5 * INTERVAL)
        reach.pause()
        assert reach.next_timeout() is None
        if forgotten:
            reach.forget()
        reach.watch(WAYS[:1], (), 200.0)
        [(_, question)] = reach.questions(203.0)
        assert reach.is_back(key, answer(question)) is not forgotten


def test_a_backup_that_becomes_a_primary_is_asked_as_one(network: Network) -> None:
    reach = Reach()
    reach.watch(WAYS[:1], {"eth0"}, 100.0)
    assert (reach.next_timeout() or 0) > 100.0 + INTERVAL
    reach.watch(WAYS[:1], (), 101.0)
    assert (reach.next_timeout() or 0) <= 101.0 + INTERVAL
    client = waiting(network, links=1)
    tunnel_of(client).set_role("eth0", Role(backup=True), network.now)
    tunnel_of(client).handle_link("eth0", (Uplink("eth0", 0, SERVER),), network.now)
    network.run(2 * SPARING)
    network.dead.clear()
    assert network.run_until(lambda: bool(client.of(events.ServerBack)), SPARING + 0.1)
