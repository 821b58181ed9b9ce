"""Connection IDs by path: sequence numbers, retirement, limits, Stateless Reset."""

import pytest

from mqvpn.multipath.cids import (
    ACTIVE_CONNECTION_ID_LIMIT,
    LocalIds,
    PeerIds,
    reset_token,
    stateless_reset,
)
from mqvpn.multipath.seam import QuicConnectionError
from mqvpn.wire.frame import PathNewConnectionId, TransportErrorCode


def issued(path_id: int, sequence: int, *, prior: int = 0, cid: bytes | None = None) -> PathNewConnectionId:
    cid = cid or bytes([path_id, sequence]) * 4
    return PathNewConnectionId(path_id, sequence, prior, cid, cid * 2)


def refused_with(code: TransportErrorCode, ids: PeerIds, frame: PathNewConnectionId) -> None:
    with pytest.raises(QuicConnectionError) as raised:
        ids.add(frame)
    assert raised.value.error_code == code


def test_ours_count_by_path_from_0_and_are_all_different() -> None:
    ids = LocalIds(lambda cid: cid * 2)
    ids.add_first(b"handmade")
    frames = [*ids.fill(0, 3), *ids.fill(1, 2)]
    assert [(frame.path_id, frame.sequence_number) for frame in frames] == [(0, 1), (0, 2), (1, 0), (1, 1)]
    assert len({frame.connection_id for frame in frames}) == 4
    assert all(frame.stateless_reset_token == frame.connection_id * 2 for frame in frames)


def test_a_retired_one_of_ours_is_replaced_with_the_next_number() -> None:
    ids = LocalIds(lambda cid: cid * 2)
    first, _ = ids.fill(1, 2)
    assert ids.retire(1, 0) == first.connection_id
    assert ids.retire(1, 0) is None
    assert [frame.sequence_number for frame in ids.fill(1, 2)] == [2]
    assert not ids.is_active(first)


@pytest.mark.parametrize(("path_id", "sequence"), [(1, 2), (5, 0)])
def test_retiring_what_was_never_issued_is_a_violation(path_id: int, sequence: int) -> None:
    ids = LocalIds(lambda cid: cid * 2)
    ids.fill(1, 2)
    with pytest.raises(QuicConnectionError) as raised:
        ids.retire(path_id, sequence)
    assert raised.value.error_code == TransportErrorCode.PROTOCOL_VIOLATION


def test_the_peers_are_taken_in_order_and_stay_until_retired() -> None:
    ids = PeerIds()
    assert ids.take(1) is None
    ids.add(issued(1, 1))
    ids.add(issued(1, 0))
    assert ids.in_use(1) is None
    assert ids.take(1) == ids.take(1) == issued(1, 0).connection_id


def test_retire_prior_to_takes_the_one_in_use_away() -> None:
    ids = PeerIds()
    ids.add(issued(1, 0))
    ids.take(1)
    assert ids.add(issued(1, 2, prior=1)) == [0]
    assert ids.in_use(1) is None
    assert ids.take(1) == issued(1, 2).connection_id


def test_one_that_comes_late_below_retire_prior_to_is_retired_at_once() -> None:
    ids = PeerIds()
    ids.add(issued(1, 3, prior=3))
    assert ids.add(issued(1, 1)) == [1]
    assert ids.take(1) == issued(1, 3).connection_id


def test_the_same_frame_again_changes_nothing() -> None:
    ids = PeerIds()
    for _ in range(3 * ACTIVE_CONNECTION_ID_LIMIT):
        assert ids.add(issued(1, 0)) == []


@pytest.mark.parametrize(
    "frame",
    [
        issued(1, 0, cid=b"another1"),  # the same number, another connection ID
        issued(1, 1, cid=issued(1, 0).connection_id),  # the same connection ID, another number
        issued(2, 0, cid=issued(1, 0).connection_id),  # or another path
    ],
)
def test_a_connection_id_issued_twice_is_a_violation(frame: PathNewConnectionId) -> None:
    ids = PeerIds()
    ids.add(issued(1, 0))
    refused_with(TransportErrorCode.PROTOCOL_VIOLATION, ids, frame)


def test_a_peer_without_connection_ids_must_not_issue_any() -> None:
    ids = PeerIds()
    ids.add_first(b"", b"")
    assert ids.in_use(0) == b""
    refused_with(TransportErrorCode.PROTOCOL_VIOLATION, ids, issued(0, 1))


def test_the_limit_holds_for_each_path() -> None:
    ids = PeerIds()
    for path_id in (1, 2):
        for sequence in range(ACTIVE_CONNECTION_ID_LIMIT):
            ids.add(issued(path_id, sequence))
    code = TransportErrorCode.CONNECTION_ID_LIMIT_ERROR
    refused_with(code, ids, issued(1, ACTIVE_CONNECTION_ID_LIMIT))


def test_only_tokens_of_connection_ids_in_use_end_the_connection() -> None:
    ids = PeerIds()
    ids.add_first(b"clients1", b"")  # a client gives no token in the handshake
    ids.add(issued(1, 0))
    assert ids.tokens() == []
    ids.take(1)
    assert ids.tokens() == [issued(1, 0).stateless_reset_token]
    ids.drop(1)
    assert ids.tokens() == []


def test_a_stateless_reset_looks_like_a_packet_and_ends_with_the_token() -> None:
    datagram = b"\x41" + b"12345678" + bytes(100)
    answer = stateless_reset(b"key", datagram)
    assert answer is not None
    assert answer[0] & 0xC0 == 0x40
    assert len(answer) < len(datagram)
    assert answer.endswith(reset_token(b"key", b"12345678"))


def test_small_datagrams_get_no_reset_so_that_loops_end() -> None:
    datagram: bytes | None = bytes(1200)
    sizes = []
    while datagram is not None:
        datagram = stateless_reset(b"key", datagram)
        sizes.append(len(datagram or b""))
    assert sizes == [*range(43, 20, -1), 0]
