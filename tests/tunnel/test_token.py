"""Tokens for the next handshake: who they serve, for how long, and that no Retry is needed with one."""

from pathlib import Path

import pytest

from mqvpn.tunnel import server
from mqvpn.tunnel.token import LIFETIME, Tokens
from tests.tunnel.pair import SERVER, Network, is_up

HOME, OFFICE, ELSEWHERE = "198.51.100.1", "2001:db8::1", "203.0.113.9"


def test_a_token_covers_the_addresses_it_was_made_for() -> None:
    tokens = Tokens()
    token = tokens.issue([HOME, OFFICE], now=100.0)
    assert tokens.covers(token, HOME, 200.0)
    assert tokens.covers(token, OFFICE, 200.0)
    assert not tokens.covers(token, ELSEWHERE, 200.0)


def test_a_token_expires() -> None:
    tokens = Tokens()
    token = tokens.issue([HOME], now=100.0)
    assert tokens.covers(token, HOME, 100.0 + LIFETIME)
    assert not tokens.covers(token, HOME, 101.0 + LIFETIME)


@pytest.mark.parametrize("place", range(0, 28, 3))
def test_a_token_that_was_changed_is_none(place: int) -> None:
    tokens = Tokens()
    token = bytearray(tokens.issue([HOME], now=100.0))
    token[place] ^= 1
    assert not tokens.covers(bytes(token), HOME, 100.0)


@pytest.mark.parametrize("token", [b"", b"x", bytes(16), bytes(100)])
def test_what_is_not_a_token_of_ours_is_none(token: bytes) -> None:
    assert not Tokens().covers(token, HOME, 0.0)
    assert not Tokens().covers(Tokens().issue([HOME], 0.0), HOME, 0.0)


def test_a_client_that_comes_again_needs_no_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network(tmp_path)
    first = net.client()
    net.start(first)
    assert net.run_until(lambda: is_up(first))
    net.run(1.0)
    tokens = first.tunnel._tokens  # type: ignore[attr-defined]
    assert SERVER in tokens
    asked: list[bytes] = []
    retry = net.server.tunnel._retry  # type: ignore[attr-defined]
    monkeypatch.setattr(server, "RETRY_FROM", 0)  # as under load
    monkeypatch.setattr(retry, "ask", lambda *arguments: asked.append(b"") or b"")
    second = net.client()
    second.address = (first.address[0], 6000)
    net.ends.remove(first)
    second.tunnel._tokens = tokens  # type: ignore[attr-defined]
    net.start(second)
    assert net.run_until(lambda: is_up(second))
    assert not asked
