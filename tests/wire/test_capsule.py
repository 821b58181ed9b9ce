"""Capsule framing (RFC 9297, section 3) in pieces of any size, and what it must not keep."""

import tracemalloc
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.address import AddressAssign, AssignedAddress
from mqvpn.wire.buffer import DecodeError, Writer
from mqvpn.wire.capsule import MAX_CAPSULE, Capsule, CapsuleReader, DatagramCapsule, write_capsule
from tests.wire.strategies import capsules

ASSIGN = AddressAssign((AssignedAddress(0, IPv4Network("10.0.0.2/32")),))


def encoded(*items: Capsule) -> bytes:
    out = Writer()
    for item in items:
        write_capsule(out, item)
    return bytes(out)


def header(number: int, length: int) -> bytes:
    out = Writer()
    out.varint(number)
    out.varint(length)
    return bytes(out)


@given(st.lists(capsules, max_size=5), st.data())
def test_round_trip_whatever_the_pieces(sent: list[Capsule], data: st.DataObject) -> None:
    stream = encoded(*sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, got = CapsuleReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end], False)
    assert got + reader.feed(b"", True) == sent


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_capsules_or_an_error(stream: bytes, end: bool) -> None:
    try:
        got = CapsuleReader().feed(stream, end)
    except DecodeError:
        return
    assert len(encoded(*got)) <= len(stream)


def test_bytes_of_the_c_server() -> None:
    stream = bytes.fromhex("010700040a00000220" + "030a0400000000ffffffff00")
    first, second = CapsuleReader().feed(stream, False)
    assert first == ASSIGN
    assert encoded(first, second) == stream


def test_unknown_types_are_skipped() -> None:
    stream = header(0x1ACE79EC, 5) + b"hello" + encoded(ASSIGN) + header(0x2F, 0) + encoded(ASSIGN)
    assert CapsuleReader().feed(stream, True) == [ASSIGN, ASSIGN]
    reader = CapsuleReader()
    assert [item for byte in stream for item in reader.feed(bytes([byte]), False)] == [ASSIGN, ASSIGN]


def test_an_unknown_capsule_of_any_length_is_not_kept() -> None:
    reader, chunk = CapsuleReader(), bytes(65536)
    assert reader.feed(header(0x2F, (1 << 62) - 1), False) == []
    tracemalloc.start()
    try:
        for _ in range(100):
            assert reader.feed(chunk, False) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * len(chunk)
    finally:
        tracemalloc.stop()


def test_a_datagram_too_large_to_use_is_skipped() -> None:
    stream = header(0, MAX_CAPSULE + 1) + bytes(MAX_CAPSULE + 1) + encoded(DatagramCapsule(b"\0abc"))
    assert CapsuleReader().feed(stream, True) == [DatagramCapsule(b"\0abc")]


def test_a_known_capsule_too_large_is_malformed_before_it_arrives() -> None:
    with pytest.raises(DecodeError, match="65537 bytes"):
        CapsuleReader().feed(header(1, MAX_CAPSULE + 1), False)


@pytest.mark.parametrize("stream", ["01", "0107", "01070004", "2f0261", "40", "00c0"])
def test_the_end_inside_a_capsule_is_malformed(stream: str) -> None:
    reader = CapsuleReader()
    assert reader.feed(bytes.fromhex(stream), False) == []
    with pytest.raises(DecodeError, match="ends inside"):
        reader.feed(b"", True)


def test_the_end_between_capsules_is_not() -> None:
    assert CapsuleReader().feed(encoded(ASSIGN), True) == [ASSIGN]
    assert CapsuleReader().feed(b"", True) == []


@pytest.mark.parametrize("value", ["00040a000002", "00040a0000022000"])
def test_missing_and_trailing_bytes_inside_a_value_are_malformed(value: str) -> None:
    data = bytes.fromhex(value)
    with pytest.raises(DecodeError):
        CapsuleReader().feed(header(1, len(data)) + data, False)


def test_lenient_reaches_the_addresses() -> None:
    stream = bytes.fromhex("01130006fd000000000000000000000000000002" + "70")
    with pytest.raises(DecodeError):
        CapsuleReader().feed(stream, False)
    (capsule,) = CapsuleReader(lenient=True).feed(stream, False)
    assert isinstance(capsule, AddressAssign)
    assert str(capsule.addresses[0].prefix) == "fd00::2/128"
