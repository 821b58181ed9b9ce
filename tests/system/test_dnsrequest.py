"""A request to mqvpn-dns is read as a stranger's: what the client writes passes, anything else is refused."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.system.dns import LinkDns
from mqvpn.system.dnsrequest import MAX_LINE, Answer, Request, decode, decode_answer

DNS = LinkDns((ip_address("9.9.9.9"), ip_address("2620:fe::fe")), ("corp.example", "~lab.example"))
APPLY = Request("apply", "home", "mq-home", "auto", DNS)
GOOD: dict[str, Any] = json.loads(APPLY.encode())


@pytest.mark.parametrize("request_", [APPLY, Request("restore", "home"), Request("restore", r"a\x2db:c@d.e")])
def test_what_the_client_writes_is_read_back(request_: Request) -> None:
    line = request_.encode()
    assert line.count(b"\n") == 1
    assert decode(line) == request_


@pytest.mark.parametrize(
    "change",
    [
        {"verb": "remove"},
        {"verb": ["apply"]},
        {"verb": "restore"},
        {"mode": "resolved"},
        {"mode": {}},
        {"instance": ""},
        {"instance": "../../etc/shadow"},
        {"instance": "a" * 129},
        {"instance": "home\n"},
        {"instance": None},
        {"interface": "-a"},
        {"interface": "a/b"},
        {"interface": "eth0;reboot"},
        {"interface": "a" * 16},
        {"servers": []},
        {"servers": ["9.9.9.9"] * 9},
        {"servers": ["9.9.9.9\nsearch evil"]},
        {"servers": ["fe80::1%eth0"]},
        {"servers": [2130706433]},
        {"servers": "9.9.9.9"},
        {"domains": ["a b"]},
        {"domains": ["a\nnameserver 6.6.6.6"]},
        {"domains": ["é.example"]},
        {"domains": ["a" * 300]},
        {"domains": ["a"] * 65},
        {"domains": {"a": 1}},
        {"more": 1},
    ],
)
def test_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says something else
        decode(json.dumps(GOOD | change).encode() + b"\n")


@pytest.mark.parametrize("key", sorted(GOOD))
def test_nothing_may_be_missing(key: str) -> None:
    with pytest.raises(ValueError, match=r"has the keys|is one of"):
        decode(json.dumps({name: value for name, value in GOOD.items() if name != key}).encode() + b"\n")


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b"1\n", b"{}", b"\xff\n", b"[" * 9000 + b"\n", b" " * MAX_LINE + b"\n"]
)
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"a request is|is one of"):
        decode(line)


TEXT = st.text(st.characters(max_codepoint=255), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:\n ")


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON | st.sampled_from(["apply", "restore", "auto", ["::1"]])))
def test_any_values_are_refused_or_harmless(fields: dict[str, Any]) -> None:
    try:
        request = decode(json.dumps(GOOD | fields).encode() + b"\n")
    except ValueError:
        return
    assert request.dns is None or set(request.dns.resolv_conf()) <= SAFE


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data)


def test_answers() -> None:
    answer = Answer("file", "a note", "")
    assert decode_answer(answer.encode()) == answer
    for line in (b"", b"[]", b'{"by": 1}'):
        with pytest.raises(ValueError):  # noqa: PT011
            decode_answer(line)
