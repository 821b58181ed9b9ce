"""Control frames wait for room, share packets, and are told of their fate once."""

import pytest

from mqvpn.dataplane.engine import ANY_PATH
from mqvpn.multipath.outbox import PACKET_FRAMES, Outbox
from tests.multipath.recording import RecordingConnection


@pytest.fixture
def connection() -> RecordingConnection:
    return RecordingConnection()


@pytest.fixture
def outbox(connection: RecordingConnection) -> Outbox:
    return Outbox(connection)


def nothing(size: int) -> None:
    return None


def test_frames_for_any_path_share_a_packet(outbox: Outbox, connection: RecordingConnection) -> None:
    for frame in (b"one", b"two"):
        outbox.put(frame)
    outbox.put(bytes(PACKET_FRAMES - 5))
    outbox.flush(nothing, any_path=True)
    assert [frames[:6] for frames, *_ in connection.sent] == [b"onetwo", bytes(6)]


def test_frames_for_one_path_travel_alone(outbox: Outbox, connection: RecordingConnection) -> None:
    outbox.put(b"challenge", path_id=1, pad_to=1200)
    outbox.put(b"response", path_id=1, pad_to=1200)
    outbox.flush(nothing, any_path=False)
    assert connection.sent == [(b"challenge", 1, 0, 1200), (b"response", 1, 0, 1200)]


def test_frames_for_any_path_wait_until_there_is_one(outbox: Outbox, connection: RecordingConnection) -> None:
    outbox.put(b"abandon")
    outbox.put(b"challenge", path_id=1)
    outbox.flush(nothing, any_path=False)
    assert [frames for frames, *_ in connection.sent] == [b"challenge"]
    outbox.flush(nothing, any_path=True)
    assert connection.sent[1][:2] == (b"abandon", ANY_PATH)


def test_nothing_is_sent_beyond_the_engines_room(outbox: Outbox, connection: RecordingConnection) -> None:
    connection.space = 10
    for frame in (b"seven77", b"four", b"x"):
        outbox.put(frame)
    outbox.flush(nothing, any_path=True)
    assert [frames for frames, *_ in connection.sent] == [b"seven77"]
    connection.space = 100
    outbox.flush(nothing, any_path=True)
    assert [frames for frames, *_ in connection.sent] == [b"seven77", b"fourx"]


def test_each_owner_hears_once_what_became_of_its_frame(outbox: Outbox, connection: RecordingConnection) -> None:
    heard: list[tuple[str, bool]] = []
    outbox.put(b"a", lambda acked: heard.append(("a", acked)))
    outbox.put(b"b", lambda acked: heard.append(("b", acked)))
    outbox.flush(nothing, any_path=True)
    token = connection.sent[0][2]
    outbox.handle_token(token, True)
    outbox.handle_token(token, False)
    assert heard == [("a", True), ("b", True)]


def test_lost_frames_are_made_anew_while_they_matter(outbox: Outbox, connection: RecordingConnection) -> None:
    versions = iter([b"first", b"second", None])
    outbox.keep_sending(lambda: next(versions))
    for _ in range(3):
        outbox.flush(nothing, any_path=True)
        outbox.handle_token(connection.sent[-1][2], False)
    assert [frames for frames, *_ in connection.sent] == [b"first", b"second"]


def test_frames_for_a_path_that_is_left_count_as_lost(outbox: Outbox, connection: RecordingConnection) -> None:
    heard: list[bool] = []
    outbox.put(b"probe", heard.append, path_id=1)
    outbox.put(b"other", heard.append, path_id=2)
    outbox.discard(1)
    outbox.flush(nothing, any_path=True)
    assert heard == [False]
    assert [frames for frames, *_ in connection.sent] == [b"other"]


def test_streams_come_after_waiting_frames_as_far_as_there_is_room(
    outbox: Outbox, connection: RecordingConnection
) -> None:
    connection.space = 3 * PACKET_FRAMES
    outbox.put(b"frame")
    outbox.flush(lambda size: (bytes(size), lambda acked: None), any_path=True)
    assert [len(frames) for frames, *_ in connection.sent] == [5, PACKET_FRAMES, PACKET_FRAMES]
