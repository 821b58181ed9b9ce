"""Names and address literals become endpoints; failures say which name and why."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from mqvpn.daemon import resolve as module
from mqvpn.daemon.resolve import MOST, Resolver, Unresolved
from tests.daemon.waiting import eventually


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1"])
def test_literals(literal: str) -> None:
    assert asyncio.run(Resolver()(literal, 443)) == [(literal, 443)]


def test_a_link_local_address_keeps_its_zone() -> None:
    index = socket.if_nametoindex("lo")
    assert asyncio.run(Resolver()("fe80::1%lo", 443)) == [(f"fe80::1%{index}", 443)]


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Unresolved, match=r"cannot resolve nowhere\.invalid"):
        asyncio.run(Resolver()("nowhere.invalid", 443))


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for its thread, also not when the loop ends."""
    asked, answer = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(10)
        return []

    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    with pytest.raises(Unresolved, match="no answer within"):
        asyncio.run(Resolver()("vpn.example", 443))
    assert asked.wait(5)
    assert time.monotonic() - started < 5
    answer.set()


class Library:
    """A getaddrinfo() that answers when it is told to."""

    def __init__(self) -> None:
        self.questions: list[threading.Event] = []

    def getaddrinfo(self, *_: object, **__: object) -> list[object]:
        self.questions.append(threading.Event())
        if not self.questions[-1].wait(10):
            raise OSError(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("192.0.2.7", 443))]


def test_an_old_question_may_be_answered_and_there_is_an_end_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", library.getaddrinfo)

    async def body() -> list[tuple[str, int]]:
        resolver = Resolver()
        for _ in range(MOST + 2):
            with pytest.raises(Unresolved, match="no answer within"):
                await resolver("vpn.example", 443)
        assert len(library.questions) == MOST
        module.TIMEOUT = 5
        waiting = asyncio.create_task(resolver("vpn.example", 443))
        await asyncio.sleep(0.05)
        library.questions[1].set()
        found = await waiting
        await eventually(lambda: len(resolver._asked["vpn.example", 443]) == MOST - 1)
        for question in library.questions:
            question.set()
        await eventually(lambda: not resolver._asked)
        return found

    assert asyncio.run(body()) == [("192.0.2.7", 443)]
