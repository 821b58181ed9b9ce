"""Frames that are wrong where they come, and what each closes the connection with (or not)."""

import pytest

from mqvpn.dataplane.engine import CONTROL
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.multipath.pathstate import PathState
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import (
    Frame,
    MaxPathId,
    PathAbandon,
    PathCidsBlocked,
    PathNewConnectionId,
    PathRetireConnectionId,
    PathsBlocked,
    PathStatus,
    TransportErrorCode,
    write_frame,
)
from tests.sim.pair import Pair

PROTOCOL_VIOLATION = TransportErrorCode.PROTOCOL_VIOLATION
FRAME_ENCODING_ERROR = TransportErrorCode.FRAME_ENCODING_ERROR
OVER = 9  # above our limit of 8


def encode(frame: Frame) -> bytes:
    out = Writer()
    write_frame(out, frame)
    return bytes(out)


def new_cid(path_id: int, sequence: int, prior: int = 0, *, cid: bytes = b"") -> bytes:
    cid = cid or bytes([path_id & 0xFF, sequence & 0xFF]) * 4
    return encode(PathNewConnectionId(path_id, sequence, prior, cid, bytes(16)))


def receive(quic: MultipathConnection, frames: bytes, *, path_id: int = 0, now: float = 1002.0) -> int | None:
    """Hand frames over as the engine does; return the error code that the connection closes with."""
    quic.handle_event((CONTROL, quic.engine_connection, path_id, frames, -1), now)
    return quic.close_event.error_code if quic.close_event is not None else None


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    return pair


REFUSED = {
    "abandon above limit": (encode(PathAbandon(OVER, 0)), PROTOCOL_VIOLATION),
    "backup above limit": (encode(PathStatus(OVER, 1, True)), PROTOCOL_VIOLATION),
    "available above limit": (encode(PathStatus(OVER, 1, False)), PROTOCOL_VIOLATION),
    "new connection ID above limit": (new_cid(OVER, 0), PROTOCOL_VIOLATION),
    "retire above limit": (encode(PathRetireConnectionId(OVER, 0)), PROTOCOL_VIOLATION),
    "paths blocked above limit": (encode(PathsBlocked(OVER)), PROTOCOL_VIOLATION),
    "CIDs blocked above limit": (encode(PathCidsBlocked(OVER, 0)), PROTOCOL_VIOLATION),
    "CIDs blocked beyond the next": (encode(PathCidsBlocked(1, 3)), PROTOCOL_VIOLATION),
    "MAX_PATH_ID above 2^32-1": (encode(MaxPathId(1 << 32)), PROTOCOL_VIOLATION),
    "MAX_PATH_ID below the transport parameter": (encode(MaxPathId(7)), PROTOCOL_VIOLATION),
    "retire never issued": (encode(PathRetireConnectionId(1, 2)), PROTOCOL_VIOLATION),
    "retire never issued, path 0": (b"\x19\x09", PROTOCOL_VIOLATION),
    "connection ID of no bytes": (b"\x7e\x78\x01\x05\x00\x00" + bytes(16), FRAME_ENCODING_ERROR),
    "connection ID of 21 bytes": (b"\x7e\x78\x01\x05\x00\x15" + bytes(37), FRAME_ENCODING_ERROR),
    "retire prior to above sequence": (b"\x7e\x78\x01\x05\x06\x08" + bytes(24), FRAME_ENCODING_ERROR),
    "the same, NEW_CONNECTION_ID": (b"\x18\x05\x06\x08" + bytes(24), FRAME_ENCODING_ERROR),
    "NEW_CONNECTION_ID of no bytes": (b"\x18\x05\x00\x00" + bytes(16), FRAME_ENCODING_ERROR),
    "number issued twice": (new_cid(1, 9) + new_cid(1, 9, cid=b"another1"), PROTOCOL_VIOLATION),
    "connection ID on two paths": (new_cid(1, 9) + new_cid(2, 9, cid=b"\1\x09" * 4), PROTOCOL_VIOLATION),
    "too many connection IDs": (
        b"".join(new_cid(3, sequence) for sequence in range(10, 18)),
        TransportErrorCode.CONNECTION_ID_LIMIT_ERROR,
    ),
    "too many retirements": (
        b"".join(new_cid(3, sequence, sequence) for sequence in range(10, 60)),
        TransportErrorCode.CONNECTION_ID_LIMIT_ERROR,
    ),
    "truncated": (b"\x7e\x75\x01", FRAME_ENCODING_ERROR),
    "truncated challenge": (b"\x1a1234567", FRAME_ENCODING_ERROR),
    "unknown frame type": (b"\x7e\x7d", FRAME_ENCODING_ERROR),
}


@pytest.mark.parametrize(("frames", "code"), REFUSED.values(), ids=REFUSED)
def test_what_closes_the_connection(pair: Pair, frames: bytes, code: TransportErrorCode) -> None:
    assert receive(pair.s, frames) == code
    pair.server.settle()
    pair.run(0.5)
    assert pair.c.close_event is not None
    assert pair.c.close_event.error_code == code


IGNORED = {
    "MAX_PATH_ID again": encode(MaxPathId(8)),
    "PATHS_BLOCKED at an old limit": encode(PathsBlocked(3)),
    "PATHS_BLOCKED at the limit": encode(PathsBlocked(8)),
    "CIDS_BLOCKED that crossed ours": encode(PathCidsBlocked(1, 0)),
    "a retirement again": 2 * encode(PathRetireConnectionId(1, 0)),
    "a response to nothing": b"\x1b12345678",
    "a challenge on a path that is not open": b"\x1a12345678",
    "the same connection ID again": 20 * new_cid(1, 9),
    "status of a path not in use": encode(PathStatus(2, 1, True)),
}


@pytest.mark.parametrize("frames", IGNORED.values(), ids=IGNORED)
def test_what_does_not(pair: Pair, frames: bytes) -> None:
    assert receive(pair.s, frames, path_id=3) is None


@pytest.mark.parametrize("frame_type", [0x3E75, 0x3E76, 0x3E77, 0x3E78, 0x3E79, 0x3E7A, 0x3E7B, 0x3E7C, 0x3E])
def test_without_the_extension_its_frames_are_unknown(frame_type: int) -> None:
    pair = Pair(client_max_path_id=None)
    pair.connect()
    out = Writer()
    out.varint(frame_type)
    assert receive(pair.s, bytes(out) + bytes(40)) == FRAME_ENCODING_ERROR


@pytest.mark.parametrize(
    "frame",
    [
        PathAbandon(1, 0),
        PathStatus(1, 1, True),
        PathNewConnectionId(1, 9, 0, b"late one", bytes(16)),
        PathRetireConnectionId(1, 77),
        PathCidsBlocked(1, 77),
    ],
)
def test_frames_about_a_path_that_is_gone_are_ignored(pair: Pair, frame: Frame) -> None:
    pair.open_path()
    pair.run(1.0)
    pair.c.abandon_path(1, 0, pair.net.now)
    pair.client.settle()
    pair.run(3.0)
    assert 1 not in pair.s.paths
    assert receive(pair.s, encode(frame), now=pair.net.now) is None
    assert 1 not in pair.s.paths


def test_abandoning_a_path_id_that_was_never_used_burns_it(pair: Pair) -> None:
    assert receive(pair.s, encode(PathAbandon(1, 0)), now=pair.net.now) is None
    pair.server.settle()
    pair.run(3.0)
    assert 1 not in pair.s.paths
    assert pair.open_path() == 2  # the server answered with PATH_ABANDON
    pair.run(1.0)
    assert pair.s.paths[2].state is PathState.ACTIVE


def test_status_follows_the_highest_sequence_number(pair: Pair) -> None:
    pair.open_path()
    pair.run(1.0)
    for sequence, backup in ((5, True), (4, False), (5, False)):
        receive(pair.s, encode(PathStatus(1, sequence, backup)), now=pair.net.now)
        assert pair.s.paths[1].peer_backup
    receive(pair.s, encode(PathStatus(1, 6, False)), now=pair.net.now)
    assert not pair.s.paths[1].peer_backup


def test_status_reaches_the_peer_and_a_newer_one_replaces_it(pair: Pair) -> None:
    pair.open_path()
    pair.run(1.0)
    for backup in (True, False, True):
        pair.c.set_path_status(1, backup, pair.net.now)
        pair.client.settle()
        pair.run(0.5)
        assert pair.s.paths[1].peer_backup is backup


def test_retire_prior_to_moves_the_path_to_another_connection_id(pair: Pair) -> None:
    pair.open_path()
    pair.run(1.0)
    connection = pair.s._issuance
    used = connection.peer.in_use(1)
    receive(pair.s, new_cid(1, 9, 9, cid=b"fresh111"), now=pair.net.now)
    assert connection.peer.in_use(1) == b"fresh111" != used


def test_a_retired_connection_id_is_replaced(pair: Pair) -> None:
    before = dict(pair.s._issuance.local.paths[1].active)
    assert receive(pair.s, encode(PathRetireConnectionId(1, 0)), now=pair.net.now) is None
    after = pair.s._issuance.local.paths[1].active
    assert list(before) == [0, 1]
    assert list(after) == [1, 2]
    pair.server.settle()
    pair.run(0.5)
    assert pair.c._issuance.peer.next_sequence(1) == 3
