"""The Internet checksum: RFC 1071's own example, and any bytes against the plain twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.dataplane.checksum import internet_checksum
from tests.dataplane import oracle


def test_example_of_rfc_1071() -> None:
    """Section 3: the sum of 0001 f203 f4f5 f6f7 is ddf2."""
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@given(st.binary(max_size=200), st.integers(0, 7))
def test_any_bytes_at_any_alignment(data: bytes, skip: int) -> None:
    assert internet_checksum(data[skip:]) == oracle.checksum(data[skip:])


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 1399, 1400, 65535])
def test_carries_are_not_lost(length: int) -> None:
    assert internet_checksum(b"\xff" * length) == oracle.checksum(b"\xff" * length)
