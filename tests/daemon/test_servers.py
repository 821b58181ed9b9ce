"""The order of servers, their health, and that one stays as long as it works."""

from __future__ import annotations

from mqvpn.config.values import HostPort
from mqvpn.daemon.servers import FORGIVEN, Servers

A, B, C = (HostPort(name, 443) for name in "abc")


def test_the_first_that_is_not_known_to_fail() -> None:
    servers = Servers((A, B, C))
    assert servers.current == A
    assert servers.failed(A, "no answer", 100.0)
    assert servers.current == B
    assert servers.failed(B, "no answer", 101.0)
    assert servers.current == C
    assert not servers.failed(C, "no answer", 102.0)
    assert servers.current == A  # its failure is the longest ago


def test_the_one_that_works_stays_although_a_better_one_may_work_again() -> None:
    servers = Servers((A, B))
    servers.failed(A, "no answer", 100.0)
    servers.worked(B)
    servers.forgive()
    assert servers.current == B
    assert servers.failed(B, "no answer", 200.0)
    assert servers.current == A


def test_a_failure_is_forgiven_after_a_while() -> None:
    servers = Servers((A, B, C))
    servers.failed(A, "no answer", 100.0)
    servers.failed(B, "refused", 110.0)
    assert [(told["current"], told["failure"]) for told in servers.status(111.0)] == [
        (False, "no answer"), (False, "refused"), (True, None),
    ]  # fmt: skip
    assert servers.failed(C, "no answer", 100.0 + FORGIVEN)
    assert servers.current == A


def test_all_are_candidates_the_current_one_first_and_those_that_fail_last() -> None:
    servers = Servers((A, B, C))
    assert servers.candidates(100.0) == (A, B, C)
    servers.failed(A, "no answer", 100.0)
    assert servers.candidates(101.0) == (B, C, A)
    servers.worked(C)
    assert servers.candidates(102.0) == (C, B, A)
    assert servers.candidates(100.0 + FORGIVEN) == (C, A, B)


def test_what_answers_and_gives_no_tunnel_must_not_win_against_a_slow_one() -> None:
    """But it is asked when no other is left: then a key that all refuse is known as such."""
    servers = Servers((A, B))
    assert servers.failed(B, "refused", 100.0, answered=True)
    assert servers.candidates(101.0) == (A,)
    assert not servers.failed(A, "no answer", 111.0)
    assert servers.candidates(112.0) == (B, A)


def test_a_single_server_is_asked_again() -> None:
    servers = Servers((A,))
    assert not servers.failed(A, "no answer", 100.0)
    assert servers.candidates(101.0) == (A,)


def test_a_reload_keeps_the_current_one_if_it_is_still_there() -> None:
    servers = Servers((A, B))
    servers.failed(A, "no answer", 100.0)
    servers.replace((C, B))
    assert servers.current == B
    servers.failed(A, "of an attempt that began before", 101.0)
    servers.replace((C,))
    assert servers.candidates(102.0) == (C,)


def test_what_a_reload_took_out_is_not_asked_again_although_it_gave_a_tunnel_since() -> None:
    servers = Servers((A, B))
    servers.replace((A,))
    servers.worked(B)
    assert servers.candidates(100.0) == (A,)


def test_there_is_another_as_long_as_one_is_not_known_to_fail() -> None:
    """Then one that answers and says nothing more is not given all the time that it might need."""
    servers = Servers((A, B))
    assert servers.has_another(100.0)
    servers.failed(A, "no answer to the tunnel request", 100.0, answered=True)
    assert not servers.has_another(101.0)
    assert not Servers((A,)).has_another(100.0)
