"""What a status means in words."""

from __future__ import annotations

from typing import Any

import pytest

from mqvpn.daemon import findings
from mqvpn.daemon.findings import DROPS, NOTE, OK, PROBLEM, WARNING, Finding
from mqvpn.wire.drop import Drop
from tests.fakes.daemons import CLIENT, PATH, SERVER

DAY = 86400


def tunnel(**changes: Any) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings.of_tunnel(CLIENT | changes)}


def test_a_tunnel_that_is_up() -> None:
    assert tunnel() == {"tunnel": Finding(OK, "tunnel", "connected to vpn.example:443, MTU 1368")}


@pytest.mark.parametrize(
    ("cause", "advice"), [("refused", "[Auth] Key"), ("untrusted", "Pin or CA"), ("lost", "no answer on any path")]
)
def test_the_last_end_says_what_to_do(cause: str, advice: str) -> None:
    closed = {"reason": "no answer on any path for 15 s", "cause": cause, "ago": 7}
    found = tunnel(state="closed", last_close=closed)
    assert found["tunnel"].level == PROBLEM
    assert found["last end"].level == PROBLEM
    assert found["last end"].text.startswith("7 s ago: no answer")
    assert advice in found["last end"].text
    assert tunnel(last_close=closed)["last end"].level == NOTE


def test_a_clock_that_makes_certificates_invalid() -> None:
    closed = {"reason": "not trusted: Certificate is not valid yet", "cause": "untrusted", "ago": 7}
    assert "set it" in tunnel(state="closed", last_close=closed)["clock"].text


@pytest.mark.parametrize(
    ("now", "level", "says"),
    [
        (-DAY, PROBLEM, "is this machine's clock right"),
        (DAY, OK, "valid for another 99 days"),
        (90 * DAY, WARNING, "expires in 10 days: renew it"),
        (102 * DAY, PROBLEM, "expired 2.0 days ago"),
    ],
)
def test_certificates(now: float, level: str, says: str) -> None:
    finding = findings.of_certificate(0, 100 * DAY, now)
    assert (finding.level, finding.about) == (level, "certificate")
    assert says in finding.text


@pytest.mark.parametrize(
    ("changes", "levels", "says"),
    [
        ({}, [OK], "carries packets, 12.3 ms to 198.51.100.1:443"),
        ({"state": "suspect", "usable": False}, [PROBLEM], "does not answer any more"),
        ({"state": "validating", "usable": False}, [WARNING], "not in use yet: validating"),
        ({"mtu": 1331}, [OK, WARNING], "takes only 1331 bytes"),
        ({"lost": 80}, [OK, WARNING], "loses 8% of the packets"),
        ({"lost": 9, "tx_packets": 10}, [OK], "carries packets"),
    ],
)
def test_paths(changes: dict[str, Any], levels: list[str], says: str) -> None:
    found = list(findings.of_path(PATH | changes))
    assert [finding.level for finding in found] == levels
    assert {finding.about for finding in found} == {"path eth0"}
    assert says in found[-1].text


@pytest.mark.parametrize(
    ("in_effect", "problem", "level"),
    [(True, None, OK), (False, None, NOTE), (False, "another program wrote /etc/resolv.conf", PROBLEM)],
)
def test_the_dns_of_the_tunnel(in_effect: bool, problem: str | None, level: str) -> None:
    [found] = findings.of_dns({"by": "resolvconf", "in_effect": in_effect, "problem": problem})
    assert (found.level, found.about) == (level, "DNS")
    assert (problem or "resolvconf") in found.text
    assert list(findings.of_dns(None)) == []


def test_drops_that_point_at_a_cause() -> None:
    told = CLIENT | {"drops": {"source_not_assigned": 3, "duplicate": 9, "queue_delay": 1}, "tun": {"tx_dropped": 2}}
    found = {finding.text.partition("(")[2].partition(")")[0]: finding for finding in findings.of_drops(told)}
    assert set(found) == {"source_not_assigned", "queue_delay", "tun_queue"}
    assert found["source_not_assigned"].level == WARNING
    assert found["queue_delay"].level == NOTE
    assert found["tun_queue"].text.startswith("2 packets")


def test_packets_beyond_our_own_limits_are_not_put_down_to_the_machine_alone() -> None:
    [found] = findings.of_drops(CLIENT | {"drops": {"no_memory": 5}, "tun": {}})
    assert "limits" in found.text


def test_the_reasons_are_those_of_the_engine() -> None:
    assert set(DROPS) - {"tun_queue"} <= {drop.name.lower() for drop in Drop}


def test_a_server() -> None:
    found = list(findings.of_server(SERVER | {"connected": 64, "internal_errors": 1}))
    assert [finding.level for finding in found] == [OK, PROBLEM, NOTE, WARNING]
    assert "2 requests were refused with status 403: their key" in found[2].text
