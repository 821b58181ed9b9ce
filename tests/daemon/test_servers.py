"""The order of servers, their health, and that one stays as long as it works."""

from __future__ import annotations

from mqvpn.config.values import HostPort
from mqvpn.daemon.servers import FORGIVEN, Servers

A, B, C = (HostPort(name, 443) for name in "abc")


def test_the_first_that_is_not_known_to_fail() -> None:
    servers = Servers((A, B, C))
    assert servers.current == A
    assert servers.failed("no answer", 100.0)
    assert servers.current == B
    assert servers.failed("no answer", 101.0)
    assert servers.current == C
    assert not servers.failed("no answer", 102.0)
    assert servers.current == A  # its failure is the longest ago


def test_the_one_that_works_stays_although_a_better_one_may_work_again() -> None:
    servers = Servers((A, B))
    servers.failed("no answer", 100.0)
    servers.worked()
    servers.forgive()
    assert servers.current == B
    assert servers.failed("no answer", 200.0)
    assert servers.current == A


def test_a_failure_is_forgiven_after_a_while() -> None:
    servers = Servers((A, B, C))
    servers.failed("no answer", 100.0)
    servers.failed("refused", 110.0)
    assert [(told["current"], told["failure"]) for told in servers.status(111.0)] == [
        (False, "no answer"), (False, "refused"), (True, None),
    ]  # fmt: skip
    assert servers.failed("no answer", 100.0 + FORGIVEN)
    assert servers.current == A


def test_a_single_server_is_asked_again() -> None:
    servers = Servers((A,))
    assert not servers.failed("no answer", 100.0)
    assert servers.current == A


def test_a_reload_keeps_the_current_one_if_it_is_still_there() -> None:
    servers = Servers((A, B))
    servers.failed("no answer", 100.0)
    servers.replace((C, B))
    assert servers.current == B
    servers.replace((C,))
    assert servers.current == C
