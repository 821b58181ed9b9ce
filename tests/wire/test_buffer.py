"""Varints against the examples of RFC 9000, appendix A.1, and bounded reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.buffer import VARINT_MAX, DecodeError, Reader, Writer, varint_size


def written(value: int) -> bytes:
    out = Writer()
    out.varint(value)
    return bytes(out)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
    ],
)
def test_varints_of_the_rfc(encoded: str, value: int) -> None:
    assert Reader(bytes.fromhex(encoded)).varint() == value
    assert written(value).hex() == encoded


def test_longer_varints_than_needed_are_read() -> None:
    assert Reader(b"\x40\x25").varint() == 37


@given(st.integers(0, VARINT_MAX))
def test_varint_round_trip(value: int) -> None:
    src = Reader(written(value))
    assert src.varint() == value
    assert src.remaining == 0
    assert src.position == varint_size(value)


@given(st.binary(max_size=9))
def test_any_bytes_are_a_varint_or_an_error(data: bytes) -> None:
    try:
        value = Reader(data).varint()
    except DecodeError:
        return
    assert 0 <= value <= VARINT_MAX


@pytest.mark.parametrize("value", [-1, VARINT_MAX + 1])
def test_what_no_varint_holds_is_the_callers_fault(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Writer().varint(value)


def test_reading_past_the_end_moves_nothing() -> None:
    src = Reader(b"abc")
    with pytest.raises(DecodeError, match="4 bytes expected, 3 left"):
        src.take(4)
    assert src.rest() == b"abc"


def test_bytes_behind_the_last_field_are_refused() -> None:
    src = Reader(b"ab")
    assert src.uint8() == ord("a")
    with pytest.raises(DecodeError, match="1 bytes too many"):
        src.expect_end()
