"""Two ends over simulated networks: the life of a connection and of its paths, in virtual time."""

import logging
from typing import Any

import pytest

from mqvpn.multipath.configuration import CIPHER_SUITES
from mqvpn.multipath.events import PathAbandoned, PathAlive, PathEstablished, PathSuspect
from mqvpn.multipath.pathstate import PathState
from mqvpn.multipath.seam import ConnectionTerminated
from mqvpn.wire.frame import TransportErrorCode
from tests.sim.net import Link
from tests.sim.pair import Pair
from tests.sim.traffic import bind, exchange

ROUGH: dict[str, Any] = {"delay": 0.02, "jitter": 0.01, "loss": 0.05, "duplicate": 0.05}


def test_handshake_opens_path_0_at_both_ends() -> None:
    pair = Pair()
    pair.connect(0.1)
    for end, quic in ((pair.client, pair.c), (pair.server, pair.s)):
        assert end.seen(PathEstablished) == [PathEstablished(0)]
        assert quic.multipath
        assert quic.inner_mtu() >= 1280


@pytest.mark.parametrize("turned", [False, True], ids=["our client", "a client that would rather have another"])
def test_the_cheapest_cipher_that_both_have(caplog: pytest.LogCaptureFixture, turned: bool) -> None:
    pair = Pair()
    if turned:
        pair.c.configuration.cipher_suites = list(reversed(CIPHER_SUITES))
    with caplog.at_level(logging.DEBUG):
        pair.connect(0.1)
    assert "packets are protected with AES_128_GCM_SHA256" in caplog.text


@pytest.mark.parametrize("seed", range(10))
def test_handshake_survives_loss(seed: int) -> None:
    pair = Pair(seed, link=Link(delay=0.02, loss=0.2, duplicate=0.1, jitter=0.02))
    pair.connect(9.0)
    assert pair.c.handshake_confirmed
    assert pair.client.seen(PathEstablished) == pair.server.seen(PathEstablished) == [PathEstablished(0)]


def test_a_second_path_is_validated_and_proven_by_both_ends() -> None:
    pair = Pair()
    pair.connect()
    path_id = pair.open_path("10.0.2.1", Link(delay=0.05))
    assert path_id == 1
    pair.run(0.5)
    for quic in (pair.c, pair.s):
        assert quic.paths[1].state is PathState.ACTIVE
        assert quic.paths[1].mtu == 1472
    assert pair.s.paths[1].remote == pair.client.addresses[1]


@pytest.mark.parametrize("seed", range(3))
def test_two_rough_paths_carry_packets_each_once(seed: int) -> None:
    pair = Pair(seed, link=Link(**ROUGH))
    pair.connect()
    pair.open_path("10.0.2.1", Link(**ROUGH | {"delay": 0.04}))
    pair.run(3.0)
    bind(pair)
    to_client, to_server = exchange(pair, 20.0)
    assert min(len(to_client), len(to_server)) > 0.9 * 2000
    for quic in (pair.c, pair.s):
        assert [path.state for path in quic.paths.values()] == [PathState.ACTIVE] * 2
    assert not pair.client.seen(ConnectionTerminated)


def test_streams_survive_loss_on_both_paths() -> None:
    pair = Pair(2, link=Link(**ROUGH))
    pair.connect()
    pair.open_path("10.0.2.1", Link(**ROUGH))
    pair.run(1.0)
    data = bytes(range(256)) * 400
    stream_id = pair.c.get_next_available_stream_id()
    pair.c.send_stream_data(stream_id, data, end_stream=True)
    pair.client.settle()
    pair.run(20.0)
    received = b"".join(event.data for event in pair.server.events if hasattr(event, "stream_id"))
    assert received == data


def test_ten_minutes_of_1rtt_packets_only_do_not_end_the_connection() -> None:
    pair = Pair()
    pair.connect()
    bind(pair)
    to_client, to_server = exchange(pair, 600.0, interval=1.0)
    assert len(to_client) == len(to_server) == 600
    assert not pair.client.seen(ConnectionTerminated) + pair.server.seen(ConnectionTerminated)


def test_silence_ends_the_connection_after_the_shorter_idle_timeout() -> None:
    pair = Pair(client={"idle_timeout": 60.0}, server={"idle_timeout": 20.0})
    pair.connect()
    pair.net.links["10.0.1.1"].is_up = False
    pair.run(15.0)
    assert not pair.client.seen(ConnectionTerminated)
    pair.run(10.0)
    for end, quic in ((pair.client, pair.c), (pair.server, pair.s)):
        assert [event.reason_phrase for event in end.seen(ConnectionTerminated)] == ["idle timeout"]
        assert quic.terminated
        assert quic.next_timeout() is None


def test_keep_alive_holds_an_idle_connection() -> None:
    pair = Pair()
    pair.connect()
    pair.open_path()
    pair.run(600.0)
    assert not pair.client.seen(ConnectionTerminated)
    assert all(path.is_usable for path in pair.s.paths.values())


def test_a_dead_path_is_found_in_about_one_pto_and_comes_back() -> None:
    pair = Pair()
    pair.connect()
    pair.open_path()
    pair.run(1.0)
    bind(pair)
    exchange(pair, 2.0)
    pto = pair.c.engine_connection.path(1).pto
    pair.net.links["10.0.2.1"].is_up = False
    exchange(pair, 2 * pto + 0.05)
    assert pair.client.seen(PathSuspect) == pair.server.seen(PathSuspect) == [PathSuspect(1)]
    to_client, to_server = exchange(pair, 2.0)
    assert len(to_client) >= 195
    assert len(to_server) >= 195
    pair.net.links["10.0.2.1"].is_up = True
    exchange(pair, 2.0)
    assert pair.client.seen(PathAlive) or pair.server.seen(PathAlive)
    assert pair.c.paths[1].state is pair.s.paths[1].state is PathState.ACTIVE
    assert not pair.c.paths[1].is_suspect


def test_an_abandoned_path_is_forgotten_and_its_place_taken_by_a_new_id() -> None:
    pair = Pair(client_max_path_id=1, server_max_path_id=1)
    pair.connect()
    for path_id in range(1, 12):
        assert pair.open_path(f"10.0.{path_id + 1}.1") == path_id
        pair.run(0.5)
        assert pair.s.paths[path_id].is_usable
        pair.c.abandon_path(path_id, TransportErrorCode.NO_ERROR, pair.net.now)
        pair.client.settle()
        pair.run(1.0)
        assert path_id not in pair.c.paths
        assert path_id not in pair.s.paths
    assert [event.path_id for event in pair.server.seen(PathAbandoned)] == list(range(1, 12))
    assert all(event.by_peer for event in pair.server.seen(PathAbandoned))


def test_path_0_may_be_abandoned_like_any_other() -> None:
    pair = Pair()
    pair.connect()
    pair.open_path()
    pair.run(1.0)
    pair.c.abandon_path(0, TransportErrorCode.NO_ERROR, pair.net.now)
    pair.client.settle()
    pair.run(2.0)
    assert list(pair.c.paths) == list(pair.s.paths) == [1]
    bind(pair)
    to_client, to_server = exchange(pair, 1.0)
    assert len(to_client) == len(to_server) == 100


def test_a_path_that_never_answers_is_abandoned() -> None:
    pair = Pair()
    pair.connect()
    path_id = pair.open_path("10.0.2.1", Link(is_up=False))
    pair.run(8.0)
    abandoned = PathAbandoned(path_id, TransportErrorCode.PATH_UNSTABLE_OR_POOR, by_peer=False)
    assert pair.client.seen(PathAbandoned) == [abandoned]
    assert path_id not in pair.c.paths


def test_a_path_too_narrow_for_1280_carries_no_packets() -> None:
    pair = Pair()
    pair.connect()
    path_id = pair.open_path("10.0.2.1", Link(mtu=1300))
    pair.run(10.0)
    assert PathEstablished(path_id) not in pair.client.seen(PathEstablished)
    assert PathEstablished(path_id) not in pair.server.seen(PathEstablished)
    assert path_id not in pair.c.paths


def test_a_path_of_1350_is_used_with_nearly_all_of_it() -> None:
    pair = Pair()
    pair.connect()
    path_id = pair.open_path("10.0.2.1", Link(mtu=1350))
    pair.run(5.0)
    assert 1350 - 16 < pair.c.paths[path_id].mtu == pair.s.paths[path_id].mtu <= 1350
    assert pair.c.inner_mtu() == pair.c.paths[path_id].mtu - 32


def test_nat_rebinding_is_followed_after_validation() -> None:
    pair = Pair()
    pair.connect()
    bind(pair)
    exchange(pair, 0.5)
    moved = ("203.0.113.9", 50000)
    pair.net.rebind(pair.client.addresses[0], moved)
    to_client, to_server = exchange(pair, 2.0)
    assert pair.s.paths[0].remote == moved
    assert pair.s.paths[0].validation is None
    assert len(to_client) > 190
    assert len(to_server) == 200


def test_without_the_extension_one_path_works_and_no_other_can_be_opened() -> None:
    from mqvpn.multipath.connection import CannotOpenPath

    for without in ("client_max_path_id", "server_max_path_id"):
        settings: dict[str, Any] = {without: None}
        pair = Pair(**settings)
        pair.connect()
        assert not pair.c.multipath
        assert not pair.s.multipath
        bind(pair)
        to_client, to_server = exchange(pair, 1.0)
        assert len(to_client) == len(to_server) == 100
        with pytest.raises(CannotOpenPath):
            pair.open_path()


def test_closing_tells_the_peer_and_ends_both() -> None:
    pair = Pair(link=Link(loss=0.3))
    pair.connect(8.0)
    pair.c.close(0x100, None, "bye")
    pair.client.settle()
    assert [event.error_code for event in pair.client.seen(ConnectionTerminated)] == [0x100]
    pair.run(40.0)
    assert pair.c.terminated
    assert pair.s.terminated


def test_leaving_the_last_path_ends_the_server_unless_a_new_one_comes() -> None:
    pair = Pair()
    pair.connect()
    pair.c.abandon_path(0, TransportErrorCode.NO_ERROR, pair.net.now)
    pair.open_path()
    pair.run(3.0)
    assert list(pair.s.paths) == [1]
    pair.s.abandon_path(1, TransportErrorCode.NO_ERROR, pair.net.now)
    pair.server.settle()
    pair.run(5.0)
    assert [event.reason_phrase for event in pair.server.seen(ConnectionTerminated)] == ["no path left"]
