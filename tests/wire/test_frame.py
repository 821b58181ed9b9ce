"""The frames of draft-ietf-quic-multipath-21, section 4, against their figures."""

import pytest
from aioquic.quic.packet import QuicErrorCode
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.frame import (
    FRAMES,
    Frame,
    FrameType,
    MaxPathId,
    PathAbandon,
    PathCidsBlocked,
    PathNewConnectionId,
    PathRetireConnectionId,
    PathsBlocked,
    PathStatus,
    TransportErrorCode,
    TransportParameter,
    read_frame,
    write_frame,
)
from tests.wire.strategies import varints

TOKEN = bytes(range(16))


@st.composite
def new_connection_ids(draw: st.DrawFn) -> PathNewConnectionId:
    retire, sequence = sorted((draw(varints), draw(varints)))
    connection_id = draw(st.binary(min_size=1, max_size=20))
    return PathNewConnectionId(draw(varints), sequence, retire, connection_id, TOKEN)


frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(PathAbandon, varints, varints),
    st.builds(PathStatus, varints, varints, st.booleans()),
    new_connection_ids(),
    st.builds(PathRetireConnectionId, varints, varints),
    st.builds(MaxPathId, varints),
    st.builds(PathsBlocked, varints),
    st.builds(PathCidsBlocked, varints, varints),
)


def written(frame: Frame) -> bytes:
    out = Writer()
    write_frame(out, frame)
    return bytes(out)


@given(frames)
def test_round_trip(frame: Frame) -> None:
    src = Reader(written(frame))
    assert read_frame(src) == frame
    assert src.remaining == 0


@given(st.sampled_from(sorted(FRAMES)), st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_an_error(number: int, data: bytes) -> None:
    src = Reader(data)
    try:
        frame = FRAMES[number](src)
    except DecodeError:
        return
    assert frame.type == number
    assert read_frame(Reader(written(frame))) == frame


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (PathAbandon(1, TransportErrorCode.PATH_UNSTABLE_OR_POOR), "7e75 01 7e76"),
        (PathStatus(1, 64, backup=True), "7e76 01 4040"),
        (PathStatus(1, 2, backup=False), "7e77 01 02"),
        (PathNewConnectionId(3, 2, 1, b"\xaa\xbb", TOKEN), "7e78 03 02 01 02 aabb" + TOKEN.hex()),
        (PathRetireConnectionId(3, 2), "7e79 03 02"),
        (MaxPathId(2**32 - 1), "7e7a c0000000ffffffff"),
        (PathsBlocked(8), "7e7b 08"),
        (PathCidsBlocked(2, 5), "7e7c 02 05"),
    ],
)
def test_layouts(frame: Frame, expected: str) -> None:
    assert written(frame) == bytes.fromhex(expected)


def test_every_frame_but_path_ack_has_a_reader() -> None:
    assert set(FRAMES) == set(FrameType) - {FrameType.PATH_ACK, FrameType.PATH_ACK_ECN}


def test_numbers_of_the_draft() -> None:
    assert [kind.value for kind in FrameType] == [0x3E, 0x3F, *range(0x3E75, 0x3E7D)]
    assert {item.name: item.value for item in TransportParameter} == {
        "MAX_DATAGRAM_FRAME_SIZE": 0x20,
        "INITIAL_MAX_PATH_ID": 0x3E,
    }
    assert {code.name: code.value for code in TransportErrorCode if code.value > 0x10} == {
        "APPLICATION_ABANDON_PATH": 0x3E,
        "CRYPTO_ERROR": 0x100,
        "PATH_RESOURCE_LIMIT_REACHED": 0x3E75,
        "PATH_UNSTABLE_OR_POOR": 0x3E76,
        "NO_CID_AVAILABLE_FOR_PATH": 0x3E77,
    }


def test_error_codes_of_rfc_9000() -> None:
    known = {code.name: code.value for code in QuicErrorCode if code.value <= 0x10}
    assert known.items() <= {code.name: code.value for code in TransportErrorCode}.items()


@pytest.mark.parametrize("size", [0, 21, 255])
def test_connection_ids_have_1_to_20_bytes(size: int) -> None:
    with pytest.raises(DecodeError, match="a connection ID of"):
        PathNewConnectionId.read(Reader(bytes([1, 2, 0, size]) + bytes(size + 16)))
    with pytest.raises(ValueError, match="1 to 20 bytes"):
        PathNewConnectionId(1, 2, 0, bytes(size), TOKEN)


def test_retire_prior_to_is_not_above_the_sequence_number() -> None:
    with pytest.raises(DecodeError, match="Retire Prior To"):
        PathNewConnectionId.read(Reader(bytes([1, 2, 3, 1, 0]) + TOKEN))
    with pytest.raises(ValueError, match="Retire Prior To"):
        PathNewConnectionId(1, 2, 3, b"\0", TOKEN)


def test_frame_types_are_in_their_shortest_form() -> None:
    with pytest.raises(DecodeError, match="longer form"):
        read_frame(Reader(bytes.fromhex("80003e7a 08")))


def test_other_frame_types_are_refused() -> None:
    with pytest.raises(DecodeError, match="0x1 is not"):
        read_frame(Reader(b"\x01"))
