"""Key updates that we start (RFC 9001, section 6), their limits, and peers that break their rules."""

import pytest

from mqvpn.multipath import keyupdate
from mqvpn.multipath.seam import CipherSuite, ConnectionTerminated
from mqvpn.wire.drop import Drop
from mqvpn.wire.frame import TransportErrorCode
from tests.sim.net import Link
from tests.sim.packets import udp_packet
from tests.sim.pair import Pair
from tests.sim.traffic import bind, exchange

SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]


def connected(*, suite: CipherSuite | None = None, packets: int = 0) -> Pair:
    """packets: after how many the client updates its keys; 0: as it would in earnest."""
    pair = Pair(client={"suite": suite})
    if packets:
        pair.c._key_updates.packets = packets
    pair.connect(1.0)
    bind(pair)
    exchange(pair, 0.1)
    pair.run(2.0)
    return pair


def generations(pair: Pair) -> tuple[int, int]:
    return pair.c._key_updates._generation, pair.s._key_updates._generation


def closed_with(pair: Pair) -> list[int]:
    return [event.error_code for end in (pair.client, pair.server) for event in end.seen(ConnectionTerminated)]


@pytest.mark.parametrize("suite", SUITES)
def test_keys_are_updated_after_so_many_packets(suite: CipherSuite) -> None:
    pair = connected(suite=suite, packets=200)
    to_client, to_server = exchange(pair, 20.0)
    assert len(to_client) == len(to_server) == 2000
    assert generations(pair)[0] == generations(pair)[1] >= 5
    assert pair.client.engine.drops()[Drop.UNDECRYPTABLE] == pair.server.engine.drops()[Drop.UNDECRYPTABLE] == 0
    assert not closed_with(pair)


def test_packets_of_all_paths_count() -> None:
    pair = connected(packets=500)
    pair.open_path("10.0.2.1", Link(delay=0.01))
    pair.run(3.0)
    before = generations(pair)[0]
    exchange(pair, 10.0)
    used = [pair.c.engine_connection.path(path_id).tx_packets for path_id in (0, 1)]
    assert min(used) > 20
    sealed, forged = pair.c.engine_connection.aead_counts()
    assert sum(used) == sealed
    assert forged == 0
    assert generations(pair)[0] > before


def test_keys_are_updated_after_a_while() -> None:
    pair = connected()
    assert generations(pair) == (0, 0)
    pair.run(keyupdate.UPDATE_EVERY + 20.0)
    assert generations(pair)[0] == generations(pair)[1] >= 1
    assert not closed_with(pair)


def test_the_next_update_waits_for_the_last_one_and_three_probe_timeouts() -> None:
    pair = connected()
    assert pair.c.update_keys(pair.net.now)
    assert not pair.c.update_keys(pair.net.now)  # not confirmed
    exchange(pair, 0.1)
    pto = pair.c.engine_connection.largest_pto()
    assert not pair.c.update_keys(pair.net.now - 0.3)  # confirmed, and too soon
    pair.run(3 * pto)
    exchange(pair, 0.1)
    assert pair.c.update_keys(pair.net.now)


def test_both_ends_may_update_at_the_same_time() -> None:
    pair = connected()
    assert pair.c.update_keys(pair.net.now)
    assert pair.s.update_keys(pair.net.now)
    to_client, to_server = exchange(pair, 3.0)
    assert len(to_client) == len(to_server) == 300
    assert generations(pair) == (1, 1)
    assert pair.c.update_keys(pair.net.now)


def test_the_end_that_followed_may_be_the_next_to_update() -> None:
    """Even one that has sent nothing but acknowledgments with the new keys: it did not update twice."""
    pair = connected()
    assert pair.c.update_keys(pair.net.now)
    for number in range(100):
        pair.client.send_packets([udp_packet(number)])
        pair.run(0.01)
    pair.s.engine_connection.update_keys()
    to_client, to_server = exchange(pair, 1.0)
    assert len(to_client) == len(to_server) == 100
    assert not closed_with(pair)


def test_old_keys_are_forgotten_after_three_probe_timeouts() -> None:
    pair = connected()
    assert pair.c.update_keys(pair.net.now)
    pair.client.keep_sent = True
    late = pair.net.links["10.0.1.1"]
    late.reorder, late.late = 0.5, 0.05  # packets of before, behind those with new keys
    exchange(pair, 1.0)
    assert pair.server.engine.drops()[Drop.UNDECRYPTABLE] == 0
    pair.run(3.0)
    assert pair.s._key_updates._discard_at is None


def test_a_peer_that_updates_twice_without_an_ack_between_is_refused() -> None:
    pair = connected()
    pair.net.links["10.0.1.1"].to_client = Link(is_up=False)  # the server acknowledges, nobody hears it
    client = pair.c.engine_connection
    client.update_keys()
    client.send(b"\x01", 0)
    pair.client.settle()
    server = pair.s.engine_connection
    pair.s._key_updates._keys.handle_key_phase(1)
    pair.c._key_updates._keys.handle_key_phase(1)
    client.update_keys()
    client.send(b"\x01", 0)
    pair.client.settle()
    datagrams = [arrival.data for arrival in sorted(pair.net._flying)]
    pair.net._flying.clear()
    for data in datagrams:  # in one batch, so that the server could not answer between
        pair.server._datagrams.clear()
        pair.server._datagrams.append(0, pair.client.addresses[0], pair.server.addresses[0], data)
        pair.server.engine.receive(pair.server._datagrams, pair.server._out, pair.net.now)
    pair.server.settle()
    assert server.id == pair.s.id
    assert closed_with(pair) == [TransportErrorCode.KEY_UPDATE_ERROR]


def test_an_ack_with_old_keys_of_a_packet_with_new_ones_is_refused() -> None:
    pair = connected()
    pair.c.engine_connection.update_keys()
    pair.c.engine_connection.send(b"\x01", 0)
    number = pair.c.engine_connection.path(0).tx_packets
    pair.net.links["10.0.1.1"].to_client = Link(delay=0.001)
    pair.client.settle()
    pair.net._flying.clear()
    for largest in range(number + 4):  # numbers are skipped now and then
        pair.s.engine_connection.send(bytes([0x3E, 0]) + (0x4000 | largest).to_bytes(2) + bytes(3), 0)
    pair.server.settle()
    pair.run(0.01)
    assert closed_with(pair)[:1] in ([TransportErrorCode.KEY_UPDATE_ERROR], [TransportErrorCode.PROTOCOL_VIOLATION])


def test_too_many_forged_packets_end_the_connection() -> None:
    pair = connected()
    pair.s.engine_connection.set_aead_limits(0, 50)
    packet = bytes([0x43]) + pair.s.host_cid + bytes(60)
    for _ in range(50):
        pair.server.receive(pair.client.addresses[0], pair.server.addresses[0], packet)
    assert pair.s.engine_connection.aead_counts()[1] == 50
    assert closed_with(pair) == [TransportErrorCode.AEAD_LIMIT_REACHED]


def test_keys_that_cannot_be_updated_in_time_are_not_used_beyond_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyupdate, "CONFIDENTIALITY_LIMIT", 2000)
    monkeypatch.setattr(keyupdate, "RESERVE", 100)
    pair = connected(packets=300)
    pair.c._key_updates._unconfirmed = True  # the peer never follows
    exchange(pair, 25.0)
    assert closed_with(pair)[:1] == [TransportErrorCode.AEAD_LIMIT_REACHED]
    assert pair.client.seen(ConnectionTerminated)
