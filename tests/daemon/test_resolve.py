"""Names and address literals become endpoints; failures say which name and why."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from mqvpn.daemon import resolve as module
from mqvpn.daemon.resolve import Unresolved, resolve


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1"])
def test_literals(literal: str) -> None:
    assert asyncio.run(resolve(literal, 443)) == [(literal, 443)]


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Unresolved, match=r"cannot resolve nowhere\.invalid"):
        asyncio.run(resolve("nowhere.invalid", 443))


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
        asyncio.run(resolve("vpn.example", 443))
    assert asked.is_set()
    assert time.monotonic() - started < 5
    answer.set()
