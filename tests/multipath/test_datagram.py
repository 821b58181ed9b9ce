"""Coalesced packets are split where the long headers end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.multipath.datagram import split

IDS = b"\x08" + b"D" * 8 + b"\x08" + b"S" * 8
INITIAL = b"\xc0\x00\x00\x00\x01" + IDS + b"\x03tok" + b"\x40\x40" + bytes(64)
HANDSHAKE = b"\xe0\x00\x00\x00\x01" + IDS + b"\x40\x40" + bytes(64)
SHORT = b"\x41" + b"D" * 8 + b"1-RTT packet"
RETRY = b"\xf0\x00\x00\x00\x01" + IDS + b"token" + bytes(16)
OTHER_VERSION = b"\xc0\x0a\x0a\x0a\x0a" + IDS + bytes(100)


@pytest.mark.parametrize("long", [INITIAL, HANDSHAKE, INITIAL + HANDSHAKE])
def test_the_1rtt_packet_at_the_end_is_cut_off(long: bytes) -> None:
    head, tail = split(long + SHORT)
    assert tail == SHORT
    assert head == long + bytes(len(SHORT))  # an Initial needs a datagram of 1200 bytes, and keeps it


@pytest.mark.parametrize("datagram", [INITIAL, INITIAL + bytes(500), RETRY, OTHER_VERSION, HANDSHAKE[:40], b""])
def test_everything_else_stays_whole(datagram: bytes) -> None:
    assert split(datagram) == (datagram, b"")


def test_a_short_header_alone_is_all_tail() -> None:
    assert split(SHORT) == (b"", SHORT)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: INITIAL + tail))
def test_no_byte_is_lost_or_made_up(datagram: bytes) -> None:
    head, tail = split(datagram)
    assert (head[: len(datagram) - len(tail)] + tail) == datagram
