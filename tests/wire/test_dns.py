"""DNS messages: questions as RFC 1035 draws them, answers of every kind, and any bytes at all."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.wire.buffer import DecodeError
from mqvpn.wire.dns import Kind, NoSuchName, read_answer, write_query

NAME = "vpn.example.com"
QUERY = write_query(0x1234, NAME, Kind.A)
POINTER = b"\xc0\x0c"  # to the question's name


def record(kind: int, content: bytes, name: bytes = POINTER) -> bytes:
    return name + kind.to_bytes(2) + b"\0\1" + bytes(4) + len(content).to_bytes(2) + content


def answer(query: bytes, *records: bytes, flags: int = 0x8180) -> bytes:
    return (
        query[:2] + flags.to_bytes(2) + b"\0\1" + len(records).to_bytes(2) + bytes(4) + query[12:] + b"".join(records)
    )


def test_a_question_as_the_rfc_draws_it() -> None:
    assert bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\3vpn\7example\3com\0" + b"\0\1\0\1" == QUERY
    assert write_query(1, NAME + ".", Kind.AAAA)[-4:] == b"\0\x1c\0\1"


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".com", "a." * 140])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no domain name"):
        write_query(1, name, Kind.A)


def test_addresses_behind_a_cname_and_among_other_records() -> None:
    alias = record(5, b"\4edge\xc0\x10")
    message = answer(
        QUERY, alias, record(1, bytes([192, 0, 2, 1]), b"\4edge\0"), record(28, bytes(16)), record(1, bytes(4))
    )
    assert read_answer(message, QUERY, Kind.A) == [ip_address("192.0.2.1"), ip_address("0.0.0.0")]


def test_ipv6() -> None:
    query = write_query(7, NAME, Kind.AAAA)
    address = ip_address("2001:db8::1")
    assert read_answer(answer(query, record(28, address.packed)), query, Kind.AAAA) == [address]


def test_no_address_is_an_answer_and_no_name_another() -> None:
    assert read_answer(answer(QUERY), QUERY, Kind.A) == []
    with pytest.raises(NoSuchName):
        read_answer(answer(QUERY, flags=0x8183), QUERY, Kind.A)
    with pytest.raises(DecodeError, match="RCODE 2"):
        read_answer(answer(QUERY, flags=0x8182), QUERY, Kind.A)


@pytest.mark.parametrize(
    "message",
    [
        answer(write_query(0x1235, NAME, Kind.A)),
        answer(write_query(0x1234, "other.example", Kind.A)),
        answer(write_query(0x1234, NAME, Kind.AAAA)),
        answer(QUERY, flags=0x0100),
    ],
)
def test_answers_to_other_questions_are_refused(message: bytes) -> None:
    with pytest.raises(DecodeError, match=r"answers|expected"):
        read_answer(message, QUERY, Kind.A)


def test_the_case_of_a_name_does_not_matter() -> None:
    message = answer(write_query(0x1234, NAME.upper(), Kind.A), record(1, bytes(4)))
    assert read_answer(message, QUERY, Kind.A) == [ip_address("0.0.0.0")]


def test_an_answer_that_was_cut_short() -> None:
    message = answer(QUERY, record(1, bytes(4)), flags=0x8380)[:-2]
    assert read_answer(message, QUERY, Kind.A) == []
    with pytest.raises(DecodeError):
        read_answer(answer(QUERY, record(1, bytes(4)))[:-2], QUERY, Kind.A)


@given(st.binary(max_size=80))
def test_any_bytes_are_addresses_or_an_error(noise: bytes) -> None:
    for message in (noise, answer(QUERY)[:-4] + noise, QUERY[:2] + b"\x81\x80\0\1\0\7" + QUERY[8:] + noise):
        try:
            found = read_answer(message, QUERY, Kind.A)
        except DecodeError:
            continue
        assert all(address.version == 4 for address in found)
