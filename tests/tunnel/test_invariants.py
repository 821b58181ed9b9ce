"""Long headers of any version (RFC 8999) and the answer to versions we do not speak."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mqvpn.tunnel.invariants import MAX_CID, VERSION_1, LongHeader, version_negotiation


def long_header(first: int, version: int, destination: bytes, source: bytes) -> bytes:
    return (
        bytes([first]) + version.to_bytes(4) + bytes([len(destination)]) + destination + bytes([len(source)]) + source
    )


cids = st.binary(max_size=MAX_CID)


@given(st.integers(0x80, 0xFF), st.integers(2, 2**32 - 1), cids, cids, st.binary())
def test_reads_what_was_written(first: int, version: int, destination: bytes, source: bytes, rest: bytes) -> None:
    header = LongHeader.read(long_header(first, version, destination, source) + rest)
    assert header == LongHeader(first, version, destination, source)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_header_or_none(data: bytes) -> None:
    header = LongHeader.read(data)
    assert header is None or max(len(header.destination), len(header.source)) <= MAX_CID


def test_a_connection_id_that_is_too_long() -> None:
    assert LongHeader.read(long_header(0xC0, VERSION_1, bytes(21), b"")) is None


@given(cids, cids, st.binary(max_size=63), st.binary())
def test_reads_the_token_of_an_initial(destination: bytes, source: bytes, token: bytes, rest: bytes) -> None:
    packet = long_header(0xC0, VERSION_1, destination, source) + bytes([len(token)]) + token + rest
    assert LongHeader.read(packet) == LongHeader(0xC0, VERSION_1, destination, source, token)


def test_initial_packets() -> None:
    assert LongHeader(0xC3, VERSION_1, b"", b"").is_initial
    assert not LongHeader(0xE3, VERSION_1, b"", b"").is_initial  # Handshake
    assert not LongHeader(0xC3, 0x6B3343CF, b"", b"").is_initial  # the numbers of version 2 differ


def test_version_negotiation_swaps_the_connection_ids() -> None:
    packet = version_negotiation(LongHeader(0xC0, 0x1A2A3A4A, b"to", b"from"), (VERSION_1,))
    assert LongHeader.read(packet) == LongHeader(0xC0, 0, b"from", b"to")
    assert packet.endswith(VERSION_1.to_bytes(4))
