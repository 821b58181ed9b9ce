"""The extended CONNECT: composed, checked, refused (RFC 9484, sections 3 and 4)."""

from ipaddress import IPv4Network, IPv6Network
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.connectip.error import Refused, StreamError
from mqvpn.connectip.extension import INSTANCE
from mqvpn.connectip.request import (
    Headers,
    Scope,
    check,
    check_response,
    compose,
    compose_refusal,
    compose_response,
    default_template,
)
from mqvpn.wire.http3 import H3ErrorCode
from tests.wire.strategies import networks

TEMPLATE = default_template("vpn.example", 443)


def request(**changes: bytes | None) -> Headers:
    """A good request with pseudo-header fields replaced, or left out (None)."""
    headers = dict(compose(TEMPLATE, token=b"secret"))
    for name, value in changes.items():
        if value is None:
            del headers[b":" + name.encode()]
        else:
            headers[b":" + name.encode()] = value
    return list(headers.items())


def test_headers_are_in_the_order_deployed_servers_know() -> None:
    assert compose(TEMPLATE, token=b"secret") == [
        (b":method", b"CONNECT"),
        (b":protocol", b"connect-ip"),
        (b":scheme", b"https"),
        (b":authority", b"vpn.example:443"),
        (b":path", b"/.well-known/masque/ip/*/*/"),
        (b"capsule-protocol", b"?1"),
        (b"authorization", b"Bearer secret"),
    ]


def test_no_token_no_authorization() -> None:
    assert b"authorization" not in dict(compose(TEMPLATE))


@pytest.mark.parametrize("instance", [b"sixteen-letters_", b"x" * 64])
def test_an_instance(instance: bytes) -> None:
    found = check(compose(TEMPLATE, extensions=[(INSTANCE, instance)]))
    assert found.instance == instance.decode()
    assert found.instance not in repr(found)


def test_no_instance() -> None:
    assert check(request()).instance == ""


@pytest.mark.parametrize("values", [[b""], [b"x" * 15], [b"x" * 65], [b"x" * 15 + b"="], [b"x" * 16, b"x" * 16]])
def test_what_is_no_instance(values: list[bytes]) -> None:
    with pytest.raises(StreamError, match="mqvpn-instance is not 16 to 64"):
        check(request() + [(INSTANCE, value) for value in values])


def test_ipv6_proxy_is_in_brackets() -> None:
    assert dict(compose(default_template("2001:db8::1", 443)))[b":authority"] == b"[2001:db8::1]:443"


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        (Scope(IPv6Network("2001:db8::42/128"), 17), "/.well-known/masque/ip/2001%3Adb8%3A%3A42/17/"),
        (Scope(IPv6Network("2001:db8::/32")), "/.well-known/masque/ip/2001%3Adb8%3A%3A%2F32/*/"),
        (Scope(IPv4Network("192.0.2.0/24"), 0), "/.well-known/masque/ip/192.0.2.0%2F24/0/"),
        (Scope("target.example"), "/.well-known/masque/ip/target.example/*/"),
    ],
)
def test_scopes_are_read(scope: Scope, path: str) -> None:
    assert check(request(path=path.encode())).scope == scope


@given(st.one_of(st.none(), networks()), st.one_of(st.none(), st.integers(0, 255)))
def test_any_scope_arrives(target: IPv4Network | IPv6Network | None, protocol: int | None) -> None:
    variables = ("*" if value is None else quote(str(value), safe="*") for value in (target, protocol))
    path = "/.well-known/masque/ip/{}/{}/".format(*variables).encode()
    assert check(request(path=path)).scope == Scope(target, protocol)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("https://p.example/ip{?target,ipproto}", "/ip?target=*&ipproto=*"),
        ("https://p.example/ip?t=1{&target}", "/ip?t=1&target=*"),
        ("https://p.example/{target,ipproto}", "/*,*"),
        ("https://p.example/ip{?user}/{user}", "/ip/"),
        ("https://p.example/fixed", "/fixed"),
    ],
)
def test_templates_up_to_level_3(template: str, path: str) -> None:
    headers = dict(compose(template))
    assert headers[b":path"] == path.encode()
    assert headers[b":authority"] == b"p.example"


@pytest.mark.parametrize(
    "template",
    [
        "http://p.example/{target}/",
        "/.well-known/masque/ip/{target}/{ipproto}/",
        "https://p.example",
        "https:///{target}/",
        "https://{target}/ip/",
        "https://p.example/{+target}/",
        "https://p.example/{#target}",
        "https://p.example/{.target}",
        "https://p.example/{/target}",
        "https://p.example/{;target}",
        "https://p.example/{target*}/",
        "https://p.example/{target:3}/",
        "https://p.example/{}/",
        "https://p.example/{target",
        "https://p.example/target}",
        "https://p.example/a b/",
        "https://pröxy.example/{target}/",
    ],
)
def test_templates_against_the_rules_are_not_sent(template: str) -> None:
    with pytest.raises(ValueError, match="URI Template"):
        compose(template)


def test_a_good_request() -> None:
    got = check(request())
    assert (got.scope, got.token) == (Scope(), b"secret")
    assert "secret" not in repr(got)


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": None},
        {"authority": None},
        {"authority": b""},
        {"path": None},
        {"path": b""},
        {"scheme": None},
        {"scheme": b"http"},
        {"path": b"/.well-known/masque/ip/\xff/*/"},
    ],
)
def test_malformed_requests(changes: dict[str, bytes | None]) -> None:
    with pytest.raises(StreamError) as caught:
        check(request(**changes))
    assert caught.value.code == H3ErrorCode.H3_MESSAGE_ERROR


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": b"GET"}, 404),
        ({"method": None}, 404),
        ({"protocol": b"connect-udp"}, 501),
        ({"path": b"/"}, 404),
        ({"path": b"/.well-known/masque/ip/*/*"}, 404),
        ({"path": b"/.well-known/masque/udp/*/*/"}, 404),
    ],
)
def test_requests_for_something_else(changes: dict[str, bytes | None], status: int) -> None:
    with pytest.raises(Refused) as caught:
        check(request(**changes))
    assert caught.value.status == status


@pytest.mark.parametrize("variables", ["%2A/%2A", "192.0.2.1/255", "::1%2F0/*"])
def test_other_spellings_of_the_variables(variables: str) -> None:
    path = f"/.well-known/masque/ip/{variables}/".encode()
    if variables == "::1%2F0/*":  # a host bit is set
        with pytest.raises(StreamError):
            check(request(path=path))
    else:
        check(request(path=path))


@pytest.mark.parametrize(
    ("target", "ipproto"),
    [
        ("", "*"),
        ("*", ""),
        ("*", "256"),
        ("*", "-1"),
        ("*", "0017"),
        ("*", "%D9%A1"),  # a digit, but not an ASCII one
        ("*", "udp"),
        ("192.0.2.1%2F33", "*"),
        ("192.0.2.1%2F24", "*"),
        ("192.0.2.256", "*"),
        ("192.0.2.0%2F255.255.255.0", "*"),
        ("2001%3Adb8%3A%3A1%2F129", "*"),
        ("2001%3Adb8%3A%3A1%2F64", "*"),
        ("fe80%3A%3A1%25eth0", "*"),
        ("a%20name", "*"),
        ("a%2Fname", "*"),
        ("%FF", "*"),
    ],
)
def test_variables_against_the_rules_are_malformed(target: str, ipproto: str) -> None:
    with pytest.raises(StreamError) as caught:
        check(request(path=f"/.well-known/masque/ip/{target}/{ipproto}/".encode()))
    assert caught.value.code == H3ErrorCode.H3_MESSAGE_ERROR


@pytest.mark.parametrize("name", [b"content-length", b"content-type", b"transfer-encoding"])
def test_content_fields_are_malformed_on_both_sides(name: bytes) -> None:
    with pytest.raises(StreamError, match=name.decode()):
        check([*request(), (name, b"0")])
    with pytest.raises(StreamError, match=name.decode()):
        check_response([*compose_response(), (name, b"0")])


def test_a_pseudo_header_field_twice_is_malformed() -> None:
    with pytest.raises(StreamError, match="twice"):
        check([*request(), (b":path", b"/")])


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], b""),
        ([b"Bearer abc"], b"abc"),
        ([b"bearer  abc "], b"abc"),
        ([b"Bearer"], b""),
        ([b"Basic abc"], b""),
        ([b"Bearer abc", b"Bearer abc"], b""),
    ],
)
def test_bearer_tokens(values: list[bytes], token: bytes) -> None:
    headers = [*compose(TEMPLATE), *((b"authorization", value) for value in values)]
    assert check(headers).token == token


@given(st.lists(st.tuples(st.sampled_from([b":path", b":method", b"authorization"]), st.binary(max_size=40))))
def test_any_request_is_taken_refused_or_malformed(fields: Headers) -> None:
    names = {name for name, _ in fields}
    headers = fields + [item for item in request() if item[0] not in names]
    try:
        check(headers)
    except (Refused, StreamError):
        return
    assert dict(headers)[b":method"] == b"CONNECT"


@pytest.mark.parametrize("status", [b"200", b"201", b"299"])
def test_any_2xx_opens_the_tunnel(status: bytes) -> None:
    assert check_response([(b":status", status)])
    assert check_response([(b":status", status), (b"capsule-protocol", b"?1")])


def test_our_own_response_opens_the_tunnel() -> None:
    assert compose_response() == [(b":status", b"200"), (b"capsule-protocol", b"?1")]
    assert check_response(compose_response())


@pytest.mark.parametrize("status", [b"100", b"103"])
def test_interim_responses_are_waited_out(status: bytes) -> None:
    assert not check_response([(b":status", status)])


@pytest.mark.parametrize("status", [101, 301, 401, 403, 503])
def test_every_other_status_is_a_refusal(status: int) -> None:
    headers = compose_refusal(Refused(status, "why"))
    assert headers == [(b":status", str(status).encode())]
    with pytest.raises(Refused) as caught:
        check_response(headers)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [b"204", b"205", b"206", b"", b"abc", b"20", b"999"])
def test_statuses_that_cannot_be(status: bytes) -> None:
    with pytest.raises(StreamError):
        check_response([(b":status", status)])
