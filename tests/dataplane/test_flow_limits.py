"""Who loses packets when too many wait: the client, and in it the flow, that has most of what is short."""

from __future__ import annotations

import gc

import pytest

from mqvpn.dataplane import engine as e
from mqvpn.dataplane.packet import PacketBatch
from mqvpn.wire.drop import Drop
from tests.dataplane.pair import SERVER_ADDRESS, udp_packet

QUEUE_PACKETS = 8192  # small ones of a client
LARGE = 2900  # bytes of two or three segments: no small buffer takes them
SEGMENT = 1300


class Clients:
    """A server whose clients all vanished: each has an address and no path, so that all that is sent to it waits."""

    def __init__(self, count: int) -> None:
        gc.collect()  # engines of other tests hold packets of the same pools
        self.engine = e.Engine(is_server=True)
        self.batch = PacketBatch()
        self.connections = [self.engine.connection(is_client=False) for _ in range(count)]
        for number, connection in enumerate(self.connections):
            connection.allow([], [(bytes([10, 0, 0, 100 + number]), 32)])
            connection.bind(0)

    def push(self, number: int, count: int, size: int = 40, port: int = 1000) -> int:
        """Packets of one flow to a client, super packets if they are large; how many the pool had room for."""
        packet = udp_packet(SERVER_ADDRESS, f"10.0.0.{100 + number}", bytes(size - 28), (port, 2000))
        for pushed in range(count):
            try:
                self.batch.append(packet, SEGMENT if size > SEGMENT else 0)
            except MemoryError:
                self.engine.from_tun(self.batch, 1.0)
                return pushed
            if len(self.batch) == 64 or pushed == count - 1:
                self.engine.from_tun(self.batch, 1.0)
        return count

    def waiting(self, number: int) -> int:
        return self.connections[number].queued()[0]


@pytest.mark.parametrize(("size", "offered", "pool"), [(40, QUEUE_PACKETS, 32_768), (LARGE, 495, 992)])
def test_frozen_clients_leave_room_for_the_next(size: int, offered: int, pool: int) -> None:
    clients = Clients(6)
    for _ in range(offered // 32):
        for number in range(5):
            assert clients.push(number, 32, size) == 32
    assert clients.engine.drops()[Drop.QUEUE_FULL] > 0
    count = pool // 12 - 32  # a sixth is left, and no client may have more than it leaves to others
    assert clients.push(5, count, size) == count
    assert clients.waiting(5) == count
    for _ in range(offered // 32):
        for number in range(6):
            assert clients.push(number, 32, size) == 32
    for number in range(6):
        assert clients.waiting(number) == pytest.approx(pool / 7, rel=0.2)


@pytest.mark.parametrize(("size", "pool"), [(40, 32_768), (LARGE, 992)])
def test_frozen_clients_that_filled_up_one_after_the_other_give_the_next_its_share(size: int, pool: int) -> None:
    """They take nothing more, so that nobody but the next client's packets can make them give anything back."""
    frozen = 20
    clients = Clients(frozen + 1)
    for number in range(frozen):
        assert clients.push(number, QUEUE_PACKETS, size) == QUEUE_PACKETS
    share = pool // (frozen + 8)  # nearly what each may have
    assert clients.push(frozen, share, size) == share
    assert clients.waiting(frozen) == share
    for number in range(frozen):
        assert clients.waiting(number) >= share


def test_clients_that_have_less_than_their_share_lose_nothing_to_the_others() -> None:
    clients = Clients(10)
    clients.push(0, 50)
    for number in range(1, 10):
        clients.push(number, QUEUE_PACKETS)
    assert clients.waiting(0) == 50


def test_queues_that_ended_are_asked_for_nothing() -> None:
    clients = Clients(6)
    for number in range(5):
        clients.push(number, QUEUE_PACKETS)
    for number in (0, 4, 2, 3):
        clients.connections[number].close()
    clients.push(1, QUEUE_PACKETS)
    clients.push(5, QUEUE_PACKETS)
    assert clients.waiting(5) == QUEUE_PACKETS
    clients.connections[1].unbind()
    clients.connections[1].bind(0)
    clients.push(1, QUEUE_PACKETS)
    assert [clients.waiting(number) for number in (1, 5)] == [QUEUE_PACKETS] * 2


def test_one_frozen_client_may_have_its_whole_queue() -> None:
    clients = Clients(1)
    clients.push(0, QUEUE_PACKETS)
    assert clients.waiting(0) == QUEUE_PACKETS
    assert clients.engine.drops()[Drop.QUEUE_FULL] == 0


@pytest.mark.parametrize(("size", "count"), [(30_000, 100), (LARGE, 200), (SEGMENT, 1000)])
def test_a_flood_of_small_packets_takes_nothing_from_a_bulk_flow(size: int, count: int) -> None:
    clients = Clients(1)
    clients.push(0, count, size, port=1)
    for _ in range(100):
        clients.push(0, 150, 40, port=2)
    assert clients.engine.drops()[Drop.QUEUE_FULL] > 5000
    packets, octets = clients.connections[0].queued()
    assert octets - count * size == 40 * (packets - count)
    assert packets > QUEUE_PACKETS - 100


def test_a_flood_of_large_packets_takes_nothing_from_small_ones() -> None:
    clients = Clients(1)
    clients.push(0, 3000, 1000, port=1)
    for _ in range(100):
        clients.push(0, 50, LARGE, port=2)
    packets, octets = clients.connections[0].queued()
    assert clients.engine.drops()[Drop.QUEUE_FULL] > 4000
    assert octets == 3000 * 1000 + LARGE * (packets - 3000)
    assert packets > 3000 + 400


def test_of_a_bulk_flow_no_more_is_dropped_than_needed() -> None:
    clients = Clients(1)
    clients.push(0, 200, 60_000)
    assert 8 * 1024 * 1024 - 130_000 < clients.connections[0].queued()[1] <= 8 * 1024 * 1024


def test_the_longest_flow_is_looked_for_once_for_many_packets() -> None:
    """Neighbouring drops hit the same flow: what is left of two equal floods differs by a batch."""
    clients = Clients(1)
    clients.push(0, QUEUE_PACKETS // 2, port=1)
    clients.push(0, QUEUE_PACKETS // 2, port=2)
    clients.push(0, 1, port=3)
    assert clients.engine.drops()[Drop.QUEUE_FULL] == 64
    clients.push(0, 63, port=3)
    assert clients.engine.drops()[Drop.QUEUE_FULL] == 64
