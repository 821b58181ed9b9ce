"""The client's unit with DNS: the machine's names are asked through the tunnel while it runs, and only then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.nameserver import command
from tests.lab.net import stop, wait_for
from tests.machine.tunnel import CLIENT, CLIENT_CONF, CLIENT_SECTIONS, INNER, SERVER, Pair, configure
from tests.system.snapshot import difference, snapshot

pytestmark = pytest.mark.machine
ANSWER = "192.0.2.77"
NAMED = dict(CLIENT_SECTIONS) | {"Interface": {"DNS": INNER, "Domains": "corp.example"}}


@pytest.fixture
def named(pair: Pair, tmp_path: Path) -> Iterator[Pair]:
    """A client with DNS, and a name server with one answer on the server's inner address."""
    configure(pair.client, CLIENT_CONF, NAMED, tmp_path)
    process = pair.server.namespace.popen(*command(INNER, ANSWER), stdout=subprocess.DEVNULL)
    yield pair
    stop(process)
    pair.client.run("systemctl", "stop", CLIENT)
    configure(pair.client, CLIENT_CONF, CLIENT_SECTIONS, tmp_path)


def look_up(pair: Pair) -> str:
    return pair.client.run("resolvectl", "query", "--cache=no", "-4", "a.corp.example", check=False)


def resolved(pair: Pair) -> str:
    return pair.client.run("resolvectl", "dns") + pair.client.run("resolvectl", "domain")


def test_names_are_asked_through_the_tunnel(named: Pair) -> None:
    before, known = snapshot(named.client.namespace.name), resolved(named)
    named.connect()
    wait_for("resolved has our name server", lambda: INNER in named.client.run("resolvectl", "dns", "mq-home"), 5)
    domains = named.client.run("resolvectl", "domain", "mq-home").split()
    assert {"~.", "corp.example"} <= set(domains)
    assert ANSWER in look_up(named)
    assert ANSWER in named.client.run("getent", "ahostsv4", "b.corp.example")
    named.client.run("systemctl", "restart", "systemd-resolved")
    wait_for("a name after resolved's restart", lambda: ANSWER in look_up(named), 10)
    named.server.run("systemctl", "kill", "-sKILL", SERVER)
    wait_for("a name after the server's death", lambda: ANSWER in look_up(named), 15)
    named.client.run("systemctl", "stop", CLIENT)
    assert ANSWER not in look_up(named)
    assert resolved(named) == known
    assert difference(before, snapshot(named.client.namespace.name)) == []
