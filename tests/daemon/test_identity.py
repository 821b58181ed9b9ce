"""What a client knows about itself after a restart."""

from __future__ import annotations

import asyncio
import json
import logging
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mqvpn.connectip.extension import is_instance
from mqvpn.daemon.identity import MAX_SERVERS, NAME, Identity
from mqvpn.wire.address import Network

ADDRESSES: tuple[Network, ...] = (ip_network("10.0.0.7/32"), ip_network("fd00::7/128"))


def life(directory: Path | None, server: str = "vpn.example:443", *changes: Any) -> tuple[str, tuple[Network, ...]]:
    """The instance and last addresses that a client starts with; `changes`: methods to call, with arguments."""

    async def story() -> tuple[str, tuple[Network, ...]]:
        identity = Identity(str(directory) if directory else None, server)
        start = identity.instance, identity.last_addresses(identity.server)
        for method, *arguments in changes:
            getattr(identity, method)(*arguments)
        await identity.close()
        return start

    return asyncio.run(story())


def test_the_instance_is_kept(tmp_path: Path) -> None:
    instance, addresses = life(tmp_path)
    assert is_instance(instance)
    assert addresses == ()
    assert life(tmp_path) == (instance, ())
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_without_a_state_directory_it_is_another_one_each_time(tmp_path: Path) -> None:
    assert len({life(None)[0] for _ in range(3)}) == 3


def test_addresses_are_those_of_the_server(tmp_path: Path) -> None:
    instance, _ = life(tmp_path, "a:443", ("remember", ADDRESSES), ("remember", ()))
    assert life(tmp_path, "b:443", ("remember", ADDRESSES[:1])) == (instance, ())
    assert life(tmp_path, "a:443") == (instance, ADDRESSES)
    assert life(tmp_path, "b:443") == (instance, ADDRESSES[:1])


def test_so_many_servers_are_remembered(tmp_path: Path) -> None:
    for number in range(MAX_SERVERS + 2):
        life(tmp_path, f"{number}:443", ("remember", ADDRESSES))
    assert [life(tmp_path, f"{number}:443")[1] for number in (1, 2)] == [(), ADDRESSES]


def test_a_new_instance_is_kept_and_the_addresses_with_it(tmp_path: Path) -> None:
    first, _ = life(tmp_path, "a:443", ("remember", ADDRESSES), ("renew",))
    second, addresses = life(tmp_path, "a:443")
    assert second != first
    assert addresses == ADDRESSES
    assert life(tmp_path)[0] == second


@pytest.mark.parametrize(
    "value",
    [
        7,
        {},
        {"instance": "short", "addresses": {}},
        {"instance": "x" * 20, "addresses": []},
        {"instance": "x" * 20, "addresses": {"a:443": "10.0.0.7/32"}},
        {"instance": "x" * 20, "addresses": {"a:443": [7]}},
        {"instance": "x" * 20, "addresses": {"a:443": ["10.0.0.7/99"]}},
        {"instance": "x" * 20, "addresses": {"a:443": ["10.0.0.7"] * 9}},
        {"instance": "x" * 20, "addresses": {str(number): [] for number in range(MAX_SERVERS + 1)}},
    ],
)
def test_a_file_that_is_no_use(tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_text(json.dumps(value))
    instance, addresses = life(tmp_path)
    assert (is_instance(instance), addresses) == (True, ())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert life(tmp_path)[0] == instance
