"""Names and address literals become endpoints; failures say which name and why."""

from __future__ import annotations

import asyncio

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
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(module, "TIMEOUT", 0.01)
        monkeypatch.setattr(loop, "getaddrinfo", lambda *_, **__: loop.create_future())
        await resolve("vpn.example", 443)

    with pytest.raises(Unresolved, match="no answer within"):
        asyncio.run(ask())
