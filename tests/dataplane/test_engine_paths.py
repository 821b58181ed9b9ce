"""Paths of the engine: scheduling, silence, addresses, abandoning; two ends in memory, virtual time."""

import pytest

from mqvpn.dataplane import engine as e
from tests.dataplane.pair import Link, Pair, feed, goodput, packets


def test_no_packet_number_space_is_shared_between_paths() -> None:
    pair = Pair([Link(delay=0.01, rate=2_000_000), Link(delay=0.01, rate=2_000_000)])
    goodput(pair, 1, 3_500_000, flows=8)
    first, second = (pair.server.conn.path(n) for n in (0, 1))
    assert first.rx_packets > 200
    assert second.rx_packets > 200


@pytest.mark.parametrize("flows", [8, 32, 200])
def test_wlb_uses_the_sum_of_both_paths(flows: int) -> None:
    pair = Pair([Link(delay=0.010, rate=6_250_000), Link(delay=0.025, rate=2_500_000)])
    goodput(pair, 3, 10_000_000, flows=flows)
    assert goodput(pair, 4, 10_000_000, flows=flows) > 0.85 * 8_750_000


def test_minrtt_fills_the_near_path_first_and_spills() -> None:
    near = Pair([Link(delay=0.030, rate=6_250_000), Link(delay=0.010, rate=6_250_000)], scheduler="minrtt")
    goodput(near, 2, 500_000)
    assert near.server.conn.path(1).rx_packets > 20 * near.server.conn.path(0).rx_packets
    full = Pair([Link(delay=0.030, rate=6_250_000), Link(delay=0.010, rate=2_500_000)], scheduler="minrtt")
    goodput(full, 3, 10_000_000)
    assert goodput(full, 3, 10_000_000) > 0.85 * 8_750_000


def test_backup_paths_wait_for_the_primary_to_fail() -> None:
    pair = Pair([Link(delay=0.01), Link(delay=0.01)])
    pair.client.conn.set_path(1, backup=True)
    before = pair.server.conn.path(1).rx_packets
    goodput(pair, 1, 200_000, flows=4)
    assert pair.server.conn.path(1).rx_packets == before
    pair.client.conn.set_path(0, usable=False)
    assert goodput(pair, 1, 200_000, flows=4) > 150_000
    assert pair.server.conn.path(1).rx_packets > 100


def test_a_silent_path_is_left_within_one_pto_and_rejoins() -> None:
    pair = Pair([Link(delay=0.02), Link(delay=0.02)])
    goodput(pair, 1, 500_000, flows=8)
    pto = pair.client.conn.path(0).pto
    pair.client.events.clear()
    pair.links[0].down = True
    died = pair.now
    feed(pair, 500_000, pto + 0.06, flows=8)
    assert (e.PATH_SUSPECT, 0, 0) in pair.client.events
    assert pair.client.conn.path(0).suspect
    before = len(pair.server.received)
    sent = feed(pair, 500_000, 2, flows=8)
    assert len(pair.server.received) - before >= sent - 100
    pair.links[0].down = False
    feed(pair, 500_000, 0.7, flows=8)
    assert (e.PATH_ALIVE, 0, 0) in pair.client.events
    assert not pair.client.conn.path(0).suspect
    assert pto < 0.2 < pair.now - died


def test_tokens_come_back_once_acked_or_lost() -> None:
    pair = Pair([Link(loss=0.3)], seed=3)
    for token in range(1, 200):
        pair.client.conn.send(b"\x1e", token=token)
        pair.run(0.05)
    pair.links[0].loss = 0.0
    pair.run(3)
    told = [event[2:] for event in pair.client.events if event[0] == e.TOKEN]
    assert sorted(token for token, _ in told) == list(range(1, 200))
    assert 60 < sum(acked for _, acked in told) < 199


def test_a_suspect_path_gives_its_tokens_back() -> None:
    pair = Pair([Link(), Link()])
    pair.run(0.1)
    pair.links[0].down = True
    pair.client.conn.send(b"\x1e", path_id=0, token=7)
    pair.run(1.0)
    assert (e.TOKEN, 0, 7, False) in pair.client.events


def test_a_new_address_is_told_once_and_adopted_on_request() -> None:
    pair = Pair([Link()])
    pair.client.push(packets(3, size=100), pair.now)
    pair.client.engine.transmit(pair.client.bursts, pair.now)
    moved = ("198.51.100.7", 4711)
    for socket, remote, _, data in pair.client.bursts.datagrams():
        pair.server.engine.receive_one(data, socket, moved, remote, pair.server.refs, pair.now)
    told = [event for event in pair.server.engine.events() if event[0] == e.PATH_ADDRESS]
    assert told == [(e.PATH_ADDRESS, 0, 0, 0, moved, ("192.0.2.2", 443), False)]
    pair.server.conn.set_address(0, 0, moved, ("192.0.2.2", 443))
    pair.server.engine.transmit(pair.server.bursts, pair.now + 1)
    assert {remote for _, remote, _, _ in pair.server.bursts.datagrams()} == {moved}


def test_a_path_opened_by_the_peer_is_told_with_its_address() -> None:
    pair = Pair([Link(), Link()])
    pair.server.conn.forget_path(1)
    pair.client.conn.send(b"\x1e", path_id=1)
    pair.run(0.1)
    assert (e.PATH_NEW, 0, 1, 1, ("192.0.2.1", 1001), ("192.0.2.2", 443)) in pair.server.events


def test_an_unvalidated_address_gets_three_times_what_it_sent() -> None:
    pair = Pair([Link()])
    pair.server.conn.set_path(0, validated=False)
    pair.client.push(packets(1, size=300), pair.now)
    pair.run(0.1)
    for _ in range(40):
        pair.server.conn.send(b"\x1e", path_id=0, pad_to=1200)
    pair.run(1.0)
    stats = pair.server.conn.path(0)
    assert 0 < stats.tx_bytes <= 3 * stats.rx_bytes


def test_keep_alive_pings_an_idle_path() -> None:
    pair = Pair([Link(), Link()])
    pair.client.conn.set_keep_alive(15.0)
    pair.run(100)
    for path in (0, 1):
        assert 5 <= pair.server.conn.path(path).rx_packets <= 16
    assert pair.server.conn.last_received > 85


def test_an_abandoned_path_returns_its_tokens_and_falls_silent() -> None:
    pair = Pair([Link(delay=5.0), Link()])
    pair.client.conn.send(b"\x1e", path_id=0, token=9)
    pair.run(0.01)
    pair.client.conn.abandon_path(0)
    pair.run(0.01)
    assert (e.TOKEN, 0, 9, False) in pair.client.events
    sent = pair.client.conn.path(0).tx_packets
    pair.client.push(packets(10), pair.now)
    pair.run(1)
    assert pair.client.conn.path(0).tx_packets == sent
    assert len(pair.server.received) == 10
    pair.client.conn.forget_path(0)
    assert pair.client.conn.path_ids() == [1]
