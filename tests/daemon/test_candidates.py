"""What an attempt says about the servers that it asked, with a tunnel and without."""

from __future__ import annotations

from typing import Any

import pytest

from mqvpn.config.values import HostPort
from mqvpn.daemon.candidates import Candidates
from mqvpn.daemon.names import Names
from mqvpn.daemon.servers import Servers
from mqvpn.tunnel.events import Closed

A, B = HostPort("a", 443), HostPort("b", 443)


class Attempt:
    """What a tunnel says of its race."""

    def __init__(self, chosen: int | None = None, failures: dict[int, Closed] | None = None) -> None:
        self.chosen, self.failures = chosen, failures or {}


def candidates() -> tuple[Candidates, Servers, Any]:
    async def find(_: HostPort) -> list[tuple[str, int]]:
        return []

    servers = Servers((A, B))
    names = Names(find, lambda: None)
    made: Any = Candidates(servers, names)
    assert made.choose(0.0) == (A, B)
    return made, servers, names


def reasons(servers: Servers) -> list[str | None]:
    return [row["failure"] for row in servers.status(1.0)]


def test_without_a_tunnel_each_has_failed_for_its_own_reason() -> None:
    made, servers, names = candidates()
    names.unresolved = {A: "cannot resolve a"}
    assert not made.failed("no server", None, 0.0)
    assert reasons(servers) == ["cannot resolve a", "no server"]


def test_the_one_that_answered_has_failed_alone(caplog: pytest.LogCaptureFixture) -> None:
    made, servers, _ = candidates()
    assert made.failed("refused", Attempt(chosen=0), 0.0)
    assert reasons(servers) == ["refused", None]
    assert caplog.messages == ["a:443: refused; the next server is b:443"]


def test_who_lost_against_one_behind_it_is_known_to_fail(caplog: pytest.LogCaptureFixture) -> None:
    made, servers, _ = candidates()
    assert made.settle(Attempt(chosen=1, failures={0: Closed("no answer")}), 0.0) == B
    assert servers.current == B
    assert reasons(servers) == ["no answer", None]
    assert caplog.messages == ["a:443: no answer; the server is b:443"]
