"""The heap of deadlines, against a scan of all of them."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mqvpn.dataplane.deadlines import Deadlines
from mqvpn.dataplane.engine import AES_128_GCM, RECEIVE, SEND, Connection, Engine
from mqvpn.dataplane.packet import PacketRefs
from mqvpn.dataplane.udp import Bursts

MOST = 40
TIMES = st.sampled_from((0.0, *range(1, 30))).map(float)
OPERATIONS = st.lists(st.tuples(st.integers(0, MOST - 1), TIMES), max_size=300)


def is_in_order(heap: list[tuple[float, int]]) -> bool:
    return all(heap[(i - 1) // 2][0] <= heap[i][0] for i in range(1, len(heap)))


@given(OPERATIONS, st.integers(1, MOST))
@settings(max_examples=200)
def test_the_first_is_that_of_a_scan(operations: list[tuple[int, float]], room: int) -> None:
    deadlines, model = Deadlines(room), dict.fromkeys(range(MOST), 0.0)
    for number, at in operations:
        if number >= room:
            room = number + 1
            deadlines.grow(room)
        deadlines.set(number, at)
        model[number] = at
        live = {number: at for number, at in model.items() if at}
        assert deadlines.first() == min(live.values(), default=0.0)
        assert deadlines.of(number) == at
        heap = deadlines.heap()
        assert is_in_order(heap)
        assert {number: at for at, number in heap} == live
        assert len(heap) == len(live)


def add_client(engine: Engine, number: int) -> Connection:
    """A connection with one path to a port of its own, where nobody answers, and a keep-alive of its own."""
    connection = engine.connection(is_client=True)
    for direction in (SEND, RECEIVE):
        connection.set_keys(direction, 0, AES_128_GCM, bytes(16), bytes(12), bytes(16))
    connection.add_cid(number.to_bytes(8), 0)
    connection.open_path(0, 0, ("192.0.2.2", number), None, bytes(8))
    connection.set_path(0, validated=True, usable=True, mtu=1400)
    connection.set_keep_alive(1 + number % 37 / 7)
    return connection


def wake(engine: Engine, now: float) -> Counter[int]:
    """Everything that is due, and how many datagrams left for which port."""
    refs, bursts, sent = PacketRefs(), Bursts(), Counter[int]()
    engine.timeout(refs, now)
    while engine.transmit(bursts, now):
        sent.update(remote[1] for _, remote, _, _ in bursts.datagrams())
        bursts.clear()
    engine.events()
    return sent


@given(st.integers(0, 2**32), st.integers(2, 30))
@settings(max_examples=25)
def test_many_connections_of_one_engine_wake_as_each_would_alone(seed: int, count: int) -> None:
    chance, now = random.Random(seed), 1.0
    together = Engine(is_server=True, seed=1)
    alone = {number: Engine(is_server=True, seed=1) for number in range(1, count + 1)}
    members = {number: (add_client(together, number), add_client(engine, number)) for number, engine in alone.items()}
    for _ in range(60):
        expected = [at for engine in alone.values() if (at := engine.next_timeout()) is not None]
        assert together.next_timeout() == (min(expected) if expected else None)
        now = max(now, chance.choice([*expected, now + 0.1]))
        sent = sum((wake(engine, now) for engine in alone.values()), Counter())
        assert wake(together, now) == sent
        if members and chance.random() < 0.1:
            for connection in members.pop(chance.choice(list(members))):
                connection.close()
