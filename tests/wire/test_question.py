"""The question of any version: what RFC 8999 says of both packets, and what is no answer."""

from __future__ import annotations

import pytest

from mqvpn.tunnel.invariants import LongHeader, version_negotiation
from mqvpn.wire.question import DATAGRAM, Question


def answer(question: Question) -> bytes:
    header = LongHeader.read(question.write())
    assert header is not None
    return version_negotiation(header, (1,))


def test_it_is_large_enough_and_of_a_reserved_version() -> None:
    question = Question()
    header = LongHeader.read(question.write())
    assert header is not None
    assert header.version & 0x0F0F0F0F == 0x0A0A0A0A  # RFC 9000, section 15
    assert (header.destination, header.source) == (question.destination, question.source)
    assert len(question.write()) == DATAGRAM >= 1200
    assert Question() != Question()


def test_version_negotiation_answers_it() -> None:
    question = Question()
    assert question.is_answer(answer(question))
    assert not Question().is_answer(answer(question))


@pytest.mark.parametrize("size", [0, 1, 5, 20, 22])
def test_a_part_of_it_does_not(size: int) -> None:
    question = Question()
    assert not question.is_answer(answer(question)[:size])


def test_neither_do_its_own_bytes_nor_a_short_header() -> None:
    question = Question()
    assert not question.is_answer(question.write())
    assert not question.is_answer(b"\x40" + answer(question)[1:])
