"""The server's leases on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.connectip.pool import NOBODY, Lease, Owner, Pool
from mqvpn.daemon.leases import MAX_LEASES, NAME, Leases, read_leases
from mqvpn.daemon.statefile import MAX_SIZE
from mqvpn.tunnel import events
from tests.fakes.timeless import run

NETWORK, NETWORK6 = IPv4Network("10.0.0.0/24"), IPv6Network("fd00::/112")
ANN, BOB = Owner("ann", "an-instance-of-anns"), Owner("Böb")


def serve(directory: Path, pool: Pool, *owners: Owner) -> list[Lease]:
    """A server's life in which these owners come; it is killed while they are there."""

    async def story() -> list[Lease]:
        seen: list[Any] = []
        leases = Leases(str(directory), pool)
        handle = leases.following(seen.append)
        given = [pool.allocate(owner) for owner in owners]
        for number, owner in enumerate(owners):
            handle(events.ClientJoined(number, owner.user, ()))
        await asyncio.sleep(0.1)
        assert len(seen) == len(owners)
        return given

    return run(story())


def test_owners_have_their_addresses_again(tmp_path: Path) -> None:
    before = serve(tmp_path, Pool(NETWORK, NETWORK6), ANN, NOBODY, BOB)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    after = serve(tmp_path, Pool(NETWORK, NETWORK6), BOB, ANN, Owner("eve"))
    assert after[:2] == [before[2], before[0]]
    assert after[2].address not in {lease.address for lease in before}


def test_a_client_that_left_is_remembered_when_the_server_stops(tmp_path: Path) -> None:
    async def story() -> Lease:
        pool = Pool(NETWORK)
        leases = Leases(str(tmp_path), pool)
        handle = leases.following(lambda _: None)
        lease = pool.allocate(ANN)
        handle(events.ClientJoined(1, "ann", ()))
        await asyncio.sleep(0.1)
        pool.release(lease)
        handle(events.ClientLeft(1, "ann", "gone"))
        pool.allocate(BOB)
        await leases.close()
        return lease

    lease = run(story())
    rows = json.loads((tmp_path / NAME).read_text())["leases"]
    assert [row[1] for row in rows] == ["ann", "Böb"]
    assert serve(tmp_path, Pool(NETWORK), ANN) == [lease]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"leases": {}}',
        '{"leases": [["10.0.0.9", "ann"]]}',
        '{"leases": [["10.0.0.9", "ann", 7]]}',
        '{"leases": [["10.0.0.9", "ann", "short"]]}',
        '{"leases": [["nowhere", "ann", ""]]}',
        '{"leases": [["fd00::9", "ann", ""]]}',
        "{",
    ],
)
def test_a_file_that_is_no_use(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_text(content)
    [lease] = serve(tmp_path, Pool(NETWORK), ANN)
    assert lease.address == IPv4Address("10.0.0.2")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "starting without it" in caplog.text
    assert serve(tmp_path, Pool(NETWORK), ANN) == [lease]


def test_the_file_is_bounded(tmp_path: Path) -> None:
    pool = Pool(IPv4Network("10.0.0.0/16"))
    longest = [Owner("ä" * 28 + str(number).zfill(6), "x" * 64) for number in range(MAX_LEASES + 100)]
    serve(tmp_path, pool, *longest)
    assert (tmp_path / NAME).stat().st_size < MAX_SIZE
    again = Pool(IPv4Network("10.0.0.0/16"))
    serve(tmp_path, again)
    assert [lease.owner for lease in again.leases()] == longest[100:]


WORDS = st.sampled_from(["leases", "10.0.0.9", "ann", ""]) | st.text()


@given(st.recursive(st.none() | st.integers() | WORDS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner)))
def test_any_value_is_leases_or_an_error(value: Any) -> None:
    with contextlib.suppress(ValueError):
        Pool(NETWORK).remember(read_leases(value))
