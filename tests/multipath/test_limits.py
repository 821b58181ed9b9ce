"""How path IDs are allowed, used up and allowed anew."""

import pytest

from mqvpn.multipath.connection import CannotOpenPath
from mqvpn.wire.frame import MaxPathId, PathsBlocked, TransportErrorCode
from tests.multipath.test_frames import encode
from tests.sim.net import Link
from tests.sim.pair import Pair


@pytest.mark.parametrize(("client", "server", "common"), [(8, 8, 8), (2, 8, 2), (8, 3, 3), (0, 8, 0)])
def test_each_unused_path_id_up_to_both_limits_gets_two_connection_ids(client: int, server: int, common: int) -> None:
    pair = Pair(client_max_path_id=client, server_max_path_id=server)
    pair.connect()
    for quic in (pair.c, pair.s):
        given = {path_id: len(ids.active) for path_id, ids in quic._issuance.local.paths.items()}
        assert given == {0: 3} | dict.fromkeys(range(1, common + 1), 2)


def test_a_client_without_a_free_path_id_says_so_once_per_pto() -> None:
    pair = Pair(client_max_path_id=1, server_max_path_id=1)
    pair.connect()
    pair.open_path()
    pair.run(1.0)
    sent: list[bytes] = []
    put = pair.c._outbox.put
    pair.c._outbox.put = lambda frame, *rest, **named: (sent.append(frame), put(frame, *rest, **named))[1]  # type: ignore
    for _ in range(5):
        with pytest.raises(CannotOpenPath, match="no further path"):
            pair.open_path("10.0.3.1")
    assert sent == [encode(PathsBlocked(1))]
    pair.run(1.0)
    assert pair.s.close_event is None


def test_the_peer_can_raise_its_limit() -> None:
    pair = Pair(client_max_path_id=8, server_max_path_id=1)
    pair.connect()
    pair.s._limits.own = 2
    pair.s._outbox.put(encode(MaxPathId(2)))
    pair.s._limits.extend()
    pair.server.settle()
    pair.run(0.5)
    assert pair.open_path("10.0.2.1") == 1
    assert pair.open_path("10.0.3.1") == 2
    pair.run(1.0)
    assert all(path.is_usable for path in pair.s.paths.values())


def test_paths_come_and_go_without_end_and_without_growth() -> None:
    pair = Pair(client_max_path_id=2, server_max_path_id=2)
    pair.connect()
    for number in range(30):
        path_id = pair.open_path(f"10.1.{number}.1", Link(loss=0.1))
        pair.run(2.0)
        pair.c.abandon_path(path_id, TransportErrorCode.NO_ERROR, pair.net.now)
        pair.client.settle()
        pair.client.addresses.pop(len(pair.client.addresses) - 1, None)
        pair.client.addresses[len(pair.client.addresses)] = (f"10.1.{number}.1", 40001)
        pair.run(4.0)
    for quic in (pair.c, pair.s):
        assert len(quic._issuance.local.paths) == 3
        assert list(quic.paths) == [0]
        assert len(quic._outbox._deliveries) == 0
    assert path_id == 30


def test_at_most_four_paths_are_validated_at_a_time() -> None:
    pair = Pair()
    pair.connect()
    for number in range(6):
        pair.open_path(f"10.0.{number + 2}.1", Link(is_up=False))
    running = [path_id for path_id, path in pair.c.paths.items() if path.validation is not None]
    assert running == [1, 2, 3, 4]
    pair.run(3.5)
    running = [path_id for path_id, path in pair.c.paths.items() if path.validation is not None]
    assert running == [5, 6]
