"""Names looked up by marked packets, from a name server that answers as told, in namespaces of our own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from mqvpn.system import block, stub
from mqvpn.system.block import Block
from mqvpn.system.routing import MARK
from mqvpn.wire.dns import Kind
from tests.lab.nameserver import name_server
from tests.lab.net import Namespace, Net
from tests.system.inside import inside

NAME = "vpn.example"
FOUND = ("192.0.2.7", "2001:db8::7")


@pytest.fixture
def pair(net: Net) -> tuple[Namespace, Namespace]:
    """A client, shut by the kill switch, and a host for the name server: 10.5.0.1 and 10.5.0.2."""
    client, host = net.namespace("client"), net.namespace("host")
    net.veth(client, "eth0", host, "eth0")
    for namespace, address in ((client, "10.5.0.1/24"), (host, "10.5.0.2/24")):
        namespace.ip("addr", "add", address, "dev", "eth0")
        namespace.ip("link", "set", "eth0", "up")
    inside(client, block.apply, Block(name="tun0", tun="tun0", mark=MARK))
    return client, host


def look_up(file: Path, text: str) -> list[str]:
    file.write_text(text)
    stub.RESOLV_CONF = file
    return asyncio.run(stub.look_up(NAME, MARK))


@pytest.mark.netns
@pytest.mark.parametrize("manner", ["plain", "forged"])
def test_both_families_through_the_kill_switch(pair: tuple[Namespace, Namespace], tmp_path: Path, manner: str) -> None:
    client, host = pair
    with name_server(host, manner, *FOUND):
        found = inside(client, look_up, tmp_path / "resolv.conf", "nameserver 10.5.0.2\n")
    assert found == list(reversed(FOUND))


@pytest.mark.netns
def test_an_unmarked_query_does_not_pass(pair: tuple[Namespace, Namespace]) -> None:
    client, _ = pair

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                udp.sendto(b"query", ("10.5.0.2", 53))
            except PermissionError:
                return False
        return True

    assert not inside(client, ask)


@pytest.mark.netns
def test_a_name_server_that_is_silent_and_one_that_knows_no_such_name(
    pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    client, host = pair
    with name_server(host, "plain", *FOUND):
        servers = "search example\nnameserver 10.5.0.77\nnameserver 10.5.0.2\n"
        assert len(inside(client, look_up, tmp_path / "resolv.conf", servers)) == 2
    with name_server(host, "unknown", *FOUND):
        assert inside(client, look_up, tmp_path / "resolv.conf", "nameserver 10.5.0.2\n") == []
    assert inside(client, look_up, tmp_path / "resolv.conf", "nameserver 10.5.0.2\n") == []


async def silence() -> list[str]:
    await asyncio.Event().wait()
    return []


async def refusal() -> list[str]:
    raise ConnectionRefusedError


async def these(*addresses: str) -> list[str]:
    return list(addresses)


@pytest.mark.parametrize(
    ("first", "asked", "found"),
    [
        ((silence, lambda: these("192.0.2.7")), 1, ["192.0.2.7"]),
        ((silence, these), 2, ["2001:db8::7", "192.0.2.8"]),
        ((silence, refusal), 2, ["2001:db8::7", "192.0.2.8"]),
        ((these, these), 1, []),
    ],
    ids=["no word about IPv6", "no address", "one refused", "no such name"],
)
def test_an_answer_that_is_half_there(
    monkeypatch: pytest.MonkeyPatch, first: tuple[Any, Any], asked: int, found: list[str]
) -> None:
    """And no question is left waiting for its answer, with its socket, when the other one has failed."""
    answers = {"192.0.2.1": first, "192.0.2.2": (lambda: these("2001:db8::7"), lambda: these("192.0.2.8"))}
    questions: list[str] = []

    async def ask(server: str, name: str, kind: Kind, mark: int) -> list[str]:
        questions.append(server)
        answer: list[str] = await answers[server][kind is Kind.A]()
        return answer

    async def story() -> list[str]:
        result = await stub.look_up(NAME, MARK, list(answers))
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    monkeypatch.setattr(stub, "TIMEOUT", 0.05)
    monkeypatch.setattr(stub, "_ask", ask)
    assert (asyncio.run(story()), len(set(questions))) == (found, asked)


def test_the_name_servers_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, behind = tmp_path / "resolv.conf", tmp_path / "behind"
    monkeypatch.setattr(stub, "RESOLV_CONF", own)
    monkeypatch.setattr(stub, "BEHIND_RESOLVED", behind)
    assert stub.name_servers() == []
    own.write_text("# nameserver 1.1.1.1\nnameserver\nnameserver x\nnameserver 127.0.0.53\noptions edns0\n")
    assert stub.name_servers() == ["127.0.0.53"]
    behind.write_text("".join(f"nameserver 192.0.2.{n}\n" for n in range(5)))
    assert stub.name_servers() == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
