"""The engine against itself: two ends in memory, virtual time."""

from statistics import median

import pytest

from mqvpn.dataplane import engine as e
from mqvpn.dataplane.packet import PacketBatch
from mqvpn.wire.drop import Drop
from tests.dataplane.pair import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    Link,
    Pair,
    feed,
    goodput,
    packets,
    udp_packet,
)


@pytest.mark.parametrize("suite", [e.AES_128_GCM, e.AES_256_GCM, e.CHACHA20_POLY1305])
def test_packets_arrive_unchanged_in_order(suite: int) -> None:
    pair = Pair([Link()], suite=suite)
    sent = packets(30)
    pair.client.push(sent, pair.now)
    pair.run(1)
    assert pair.server.received == sent
    assert pair.client.conn.path(0).in_flight == 0
    assert pair.client.conn.path(0).srtt == pytest.approx(0.02, rel=0.3)


def test_super_packets_are_cut_to_segments() -> None:
    pair = Pair([Link()])
    whole = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(range(256)) * 20)
    pair.client.push([whole], pair.now, gso_size=1000)
    pair.run(1)
    assert [len(p) - 28 for p in pair.server.received] == [1000] * 5 + [120]
    assert b"".join(p[28:] for p in pair.server.received) == whole[28:]


def test_duplicates_on_the_wire_are_delivered_once() -> None:
    pair = Pair([Link(duplicate=1.0, reorder=0.2)])
    pair.client.push(packets(40), pair.now)
    pair.run(1)
    assert sorted(pair.server.received) == sorted(packets(40))
    assert pair.server.engine.drops()[Drop.DUPLICATE] >= 40


def test_a_full_link_is_used_and_not_overrun() -> None:
    pair = Pair([Link(delay=0.02, rate=6_250_000, queue=250_000)])
    assert goodput(pair, 5, 8_000_000) > 0.85 * 6_250_000
    stats = pair.client.conn.path(0)
    assert stats.lost / stats.tx_packets < 0.03
    assert 5_000_000 < stats.delivery_rate < 7_000_000


def test_random_loss_does_not_stop_it() -> None:
    """What half of all seeds deliver: CUBIC's first slow start may end early by a loss or two."""
    pairs = [Pair([Link(delay=0.01, rate=6_250_000, loss=0.01)], seed=seed) for seed in range(1, 8)]
    assert median(goodput(pair, 3, 500_000) for pair in pairs) > 0.95 * 500_000


def test_control_frames_reach_python_whole_and_alone() -> None:
    pair = Pair([Link()])
    frames = b"\x01" + b"\x1e" + b"\x10\x05" + bytes(3)  # PING, HANDSHAKE_DONE, MAX_DATA, PADDING
    pair.client.conn.send(frames)
    pair.run(0.5)
    assert [event for event in pair.server.events if event[0] == e.CONTROL] == [(e.CONTROL, 0, 0, b"\x1e\x10\x05", 0)]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (bytes.fromhex("3e 00 4fff 00 00 00"), 0x0A),  # PATH_ACK of a packet never sent
        (bytes.fromhex("02 01 00 00 05"), 0x07),  # first range longer than the largest
        (bytes.fromhex("06 00 40ff 00"), 0x07),  # CRYPTO cut short
        (bytes.fromhex("4001"), 0x07),  # PING in two bytes
        (bytes.fromhex("31 20 00"), 0x07),  # DATAGRAM longer than the packet
    ],
)
def test_broken_frames_are_errors_of_the_connection(frames: bytes, code: int) -> None:
    pair = Pair([Link()])
    pair.client.conn.send(frames)
    pair.run(0.3)
    assert [event[2] for event in pair.server.events if event[0] == e.ERROR] == [code]


def test_unknown_frames_are_left_to_python() -> None:
    pair = Pair([Link()])
    pair.client.conn.send(bytes.fromhex("7fff 0102"))
    pair.run(0.3)
    assert (e.CONTROL, 0, 0, bytes.fromhex("7fff010200"))[:3] == pair.server.events[0][:3]
    assert pair.server.events[0][3].startswith(bytes.fromhex("7fff0102"))


def test_an_ack_for_a_forgotten_path_is_ignored() -> None:
    pair = Pair([Link()])
    pair.client.conn.send(bytes.fromhex("3e 05 05 00 00 00"))
    pair.run(0.3)
    assert not [event for event in pair.server.events if event[0] == e.ERROR]


def test_the_peers_key_update_is_followed_on_every_path() -> None:
    pair = Pair([Link(delay=0.01), Link(delay=0.03)])
    goodput(pair, 0.5, 300_000, flows=8)
    pair.client.install_keys(2, pair.suite)
    update(pair)
    pair.server.install_keys(2, pair.suite)
    sent = len(pair.server.received)
    offered = feed(pair, 300_000, 1, flows=8)
    pair.run(0.5)
    assert len(pair.server.received) - sent == offered
    assert (e.KEY_PHASE, 0, 1) in pair.server.events
    assert pair.server.engine.drops()[Drop.UNDECRYPTABLE] == 0
    assert pair.client.engine.drops()[Drop.UNDECRYPTABLE] == 0


def update(pair: Pair) -> None:
    """Let the client begin a key update."""
    pair.client.conn.update_keys()
    pair.client.push(packets(1), pair.now)
    pair.run(0.1)
    pair.server.received.pop()


def test_forged_packets_are_counted_and_change_nothing() -> None:
    pair = Pair([Link()])
    pair.client.push(packets(1), pair.now)
    pair.client.engine.transmit(pair.client.bursts, pair.now)
    [(socket, remote, local, data)] = pair.client.bursts.datagrams()
    for at in range(9, len(data), 97):
        forged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        pair.server.engine.receive_one(forged, socket, local, remote, pair.server.refs, pair.now)
    assert pair.server.refs.packets() == []
    assert pair.server.engine.drops()[Drop.UNDECRYPTABLE] >= 10
    pair.server.engine.receive_one(data, socket, local, remote, pair.server.refs, pair.now)
    assert pair.server.refs.packets() == packets(1)


def test_an_unknown_connection_id_is_reported_but_rate_limited() -> None:
    pair = Pair([Link()])
    for n in range(300):
        data = b"\x40" + n.to_bytes(8, "big") + bytes(40)
        pair.server.engine.receive_one(data, 0, ("192.0.2.9", 5), ("192.0.2.2", 443), pair.server.refs, pair.now)
    events = pair.server.engine.events()
    assert {event[0] for event in events} == {e.UNKNOWN}
    assert len(events) == 100
    assert pair.server.engine.drops()[Drop.UNKNOWN_CONNECTION] == 300


def test_stateless_reset_is_recognised_by_its_token() -> None:
    pair = Pair([Link()])
    pair.client.conn.set_reset_tokens([b"a" * 16, b"b" * 16])
    for token in (b"x" * 16, b"b" * 16):
        pair.client.engine.receive_one(b"\x40" + bytes(30) + token, 0, ("192.0.2.2", 443), None, pair.client.refs, 1.0)
    assert [event[0] for event in pair.client.engine.events()] == [e.UNKNOWN, e.RESET]


def test_packets_before_the_keys_are_handed_to_python() -> None:
    pair = Pair([Link()])
    engine = e.Engine(is_server=True)
    late = engine.connection(is_client=False)
    late.add_cid(Pair.cid(True, 0), 0)
    pair.client.push(packets(1), pair.now)
    pair.client.engine.transmit(pair.client.bursts, pair.now)
    [(socket, remote, local, data)] = pair.client.bursts.datagrams()
    engine.receive_one(data, socket, local, remote, pair.server.refs, pair.now)
    assert engine.events() == [(e.EARLY, late.id, socket, local, remote, data)]


@pytest.mark.parametrize(
    ("source", "destination", "drop"),
    [
        ("10.0.0.9", SERVER_ADDRESS, Drop.SOURCE_NOT_ASSIGNED),
        ("169.254.1.1", SERVER_ADDRESS, Drop.LINK_LOCAL),
        (CLIENT_ADDRESS, "169.254.1.1", Drop.LINK_LOCAL),
    ],
)
def test_the_server_checks_inner_addresses(source: str, destination: str, drop: Drop) -> None:
    pair = Pair([Link()])
    pair.client.conn.allow([], [])
    pair.client.push([udp_packet(source, destination, b"x")], pair.now)
    pair.run(0.2)
    assert pair.server.received == []
    assert pair.server.engine.drops()[drop] + pair.client.engine.drops()[drop] == 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_that_has_used_up_its_hops_goes_no_further(version: int) -> None:
    spent = bytearray(udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"x"))
    spent[8] = 0
    if version == 6:
        spent = bytearray(b"\x60\0\0\0\0\x08\x11\0" + bytes(40))
    pair = Pair([Link()])
    pair.client.conn.allow([], [])
    pair.client.push([bytes(spent)], pair.now)
    pair.run(0.1)
    assert pair.server.received == []
    assert pair.client.engine.drops()[Drop.HOP_LIMIT] == 1


def test_a_peer_that_sends_from_anothers_address_uses_up_its_own_events_only() -> None:
    pair = Pair([Link()])
    pair.client.conn.allow([], [])
    other = pair.server.engine.connection(is_client=False)
    other.allow([], [(bytes([10, 0, 0, 3]), 32)])
    for _ in range(10):
        pair.client.push([udp_packet("10.0.0.9", SERVER_ADDRESS, b"x")] * 30, pair.now)
        pair.run(0.05)
    told = [event for event in pair.server.events if event[0] == e.UNREACHABLE]
    assert {(sender, reason) for _, sender, _, reason in told} == {(pair.server.conn.id, Drop.SOURCE_NOT_ASSIGNED)}
    assert 100 <= len(told) <= 200
    pair.server.events.clear()
    pair.server.push([udp_packet(SERVER_ADDRESS, "10.0.0.77", b"nobody")], pair.now)
    pair.run(0.01)
    assert [event[1] for event in pair.server.events] == [None]


def test_a_super_packet_waits_whole_while_a_path_can_number_no_more() -> None:
    pair = Pair([Link()])
    pair.client.conn.set_congestion("none")
    pair.links[0].down = True
    empty = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"")
    sent = 0
    while not pair.client.conn.queued()[0]:  # nothing is acknowledged, and no time passes
        pair.client.push([empty] * 64, pair.now)
        pair.carry(pair.client)
        sent += 64
    assert sent > 60_000
    pair.client.push([udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(3000))], pair.now, gso_size=1000)
    for _ in range(5):
        pair.carry(pair.client)
    pair.links[0].down = False
    pair.run(5.0)
    assert [len(packet) - 28 for packet in pair.server.received if len(packet) > 28] == [1000] * 3


def test_a_packet_for_a_peer_whatever_its_addresses() -> None:
    pair = Pair([Link()])
    pair.client.conn.allow([], [])
    answer = udp_packet(SERVER_ADDRESS, "10.0.0.9", b"x")
    batch = PacketBatch()
    batch.append(answer)
    pair.server.engine.to_peer(pair.server.conn, batch, pair.now)
    assert len(batch) == 0
    pair.run(0.1)
    assert pair.client.received == [answer]
    batch.append(answer)
    pair.server.conn.unbind()
    pair.server.engine.to_peer(pair.server.conn, batch, pair.now)
    assert pair.server.engine.drops()[Drop.NO_PATH] == 1


def test_the_client_sends_only_from_its_own_address() -> None:
    pair = Pair([Link()])
    pair.client.push([udp_packet("10.0.0.9", SERVER_ADDRESS, b"x")], pair.now)
    assert pair.client.engine.drops()[Drop.SOURCE_NOT_ASSIGNED] == 1
    assert pair.client.conn.queued() == (0, 0)
    pair.run(0.1)
    [(kind, sender, _, reason)] = pair.client.events
    assert (kind, sender, reason) == (e.UNREACHABLE, None, Drop.SOURCE_NOT_ASSIGNED)


def test_the_server_finds_the_session_by_destination() -> None:
    pair = Pair([Link()])
    answer = udp_packet(SERVER_ADDRESS, CLIENT_ADDRESS, b"answer")
    pair.server.push([answer, udp_packet(SERVER_ADDRESS, "10.0.0.77", b"nobody")], pair.now)
    pair.run(0.2)
    assert pair.client.received == [answer]
    assert pair.server.engine.drops()[Drop.NO_ROUTE] == 1
    [(kind, sender, _, reason)] = pair.server.events
    assert (kind, sender, reason) == (e.UNREACHABLE, None, Drop.NO_ROUTE)


def test_an_address_leads_to_one_connection_only() -> None:
    pair = Pair([Link()])
    second = pair.server.engine.connection(is_client=False)
    with pytest.raises(ValueError, match="another connection"):
        second.allow([], [(bytes([10, 0, 0, 2]), 32)])
    pair.server.conn.close()
    second.allow([], [(bytes([10, 0, 0, 2]), 32)])


def test_what_does_not_fit_is_told_and_dropped() -> None:
    pair = Pair([Link()])
    pair.client.conn.set_path(0, mtu=1331)
    big = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(1331 - e.OVERHEAD - 28 + 1))
    fits = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, bytes(1331 - e.OVERHEAD - 28))
    pair.client.push([big, fits], pair.now)
    pair.run(0.2)
    assert pair.server.received == [fits]
    assert pair.client.events == [(e.TOO_BIG, 0, big[:1300], 1331 - e.OVERHEAD)]
    assert pair.client.engine.drops()[Drop.TOO_BIG] == 1


def test_a_queue_that_stays_full_becomes_short() -> None:
    """A burst leaves a queue, and more than the link carries keeps coming: CoDel shortens it nevertheless."""
    pair = Pair([Link(delay=0.01, rate=1_000_000, queue=60_000)])
    feed(pair, 2_000_000, 1)
    assert pair.client.conn.queued()[1] > 800_000
    feed(pair, 1_050_000, 7)
    assert 0 < pair.client.conn.queued()[1] < 200_000
    assert pair.client.engine.drops()[Drop.QUEUE_DELAY] > 50
    assert pair.client.engine.drops()[Drop.QUEUE_FULL] == 0


def test_a_sparse_flow_passes_a_full_queue() -> None:
    pair = Pair([Link(delay=0.01, rate=1_000_000, queue=60_000)])
    feed(pair, 2_000_000, 2)
    probe = udp_packet(CLIENT_ADDRESS, SERVER_ADDRESS, b"probe", (7, 7))
    start = pair.now
    pair.client.push([probe], pair.now)
    while probe not in pair.server.received:
        feed(pair, 2_000_000, 0.005)
    assert pair.now - start < 0.01 + 0.06 + 0.03


def test_nothing_but_the_close_is_sent_after_close_now() -> None:
    pair = Pair([Link()])
    pair.client.push(packets(5), pair.now)
    pair.client.conn.close_now(bytes.fromhex("1d 00 00"))
    pair.client.push(packets(5), pair.now)
    pair.run(1)
    assert pair.server.received == []
    controls = [event for event in pair.server.events if event[0] == e.CONTROL]
    assert controls == [(e.CONTROL, 0, 0, bytes.fromhex("1d0000"), 0)]


def test_closed_connections_leave_nothing_behind() -> None:
    engine = e.Engine(is_server=True)
    for n in range(500):
        conn = engine.connection(is_client=False)
        conn.add_cid(n.to_bytes(8, "big"), 0)
        conn.allow([], [((0x0A000000 + n).to_bytes(4, "big"), 32)])
        conn.open_path(0, 0, ("192.0.2.1", 5), None, b"12345678")
        conn.close()
        with pytest.raises(ValueError, match="closed"):
            conn.room()
    assert engine.connection(is_client=False).id < 8
