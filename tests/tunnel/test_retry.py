"""Retry tokens: good once more from the same address with the new connection ID, and never otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqvpn.tunnel.invariants import VERSION_1, LongHeader
from mqvpn.tunnel.retry import LIFETIME, MAC_SIZE, Retry
from tests.tunnel.pair import DELAY, Network, is_up
from tests.tunnel.test_server import server

REMOTE = ("203.0.113.9", 1234)
FIRST = LongHeader(0xC0, VERSION_1, b"original", b"client")
RETRY_TAG = 16


@pytest.fixture
def retry() -> Retry:
    return Retry(b"k" * 32)


def second(packet: bytes) -> LongHeader:
    """The header of the Initial with which a client answers a Retry packet."""
    source_at = 6 + packet[5]
    source = packet[source_at + 1 : source_at + 1 + packet[source_at]]
    token = packet[source_at + 1 + len(source) : -RETRY_TAG]
    return LongHeader(0xC0, VERSION_1, source, FIRST.source, token)


def test_a_token_brings_the_original_connection_id_back(retry: Retry) -> None:
    answer = second(retry.ask(FIRST, REMOTE, 100.0))
    assert retry.original(answer, REMOTE, 100.2) == FIRST.destination


@pytest.mark.parametrize("remote", [("203.0.113.10", 1234), ("203.0.113.9", 1235)])
def test_from_another_address(retry: Retry, remote: tuple[str, int]) -> None:
    assert retry.original(second(retry.ask(FIRST, REMOTE, 100.0)), remote, 100.2) is None


def test_too_late(retry: Retry) -> None:
    assert retry.original(second(retry.ask(FIRST, REMOTE, 100.0)), REMOTE, 101.0 + LIFETIME) is None


def test_with_another_connection_id(retry: Retry) -> None:
    answer = second(retry.ask(FIRST, REMOTE, 100.0))
    other = LongHeader(0xC0, VERSION_1, b"another!", FIRST.source, answer.token)
    assert retry.original(other, REMOTE, 100.2) is None


@pytest.mark.parametrize("token", [b"", b"x", bytes(MAC_SIZE), bytes(60)])
def test_tokens_that_are_not_ours(retry: Retry, token: bytes) -> None:
    assert retry.original(LongHeader(0xC0, VERSION_1, b"whatever", b"", token), REMOTE, 100.0) is None


def test_another_servers_token(retry: Retry) -> None:
    assert Retry(b"").original(second(retry.ask(FIRST, REMOTE, 100.0)), REMOTE, 100.2) is None


def test_under_load_a_client_still_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqvpn.tunnel.server.RETRY_FROM", 0)
    network = Network(tmp_path)
    client = network.client(links=2)
    network.start(client)
    network.run_until(lambda: server(network).half_open > 0)
    assert network.now > 1000.0 + 2 * DELAY  # the first datagram left nothing but an answer
    assert network.run_until(lambda: is_up(client), 1)
