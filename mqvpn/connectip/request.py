"""The extended CONNECT that opens a tunnel, and its answer (RFC 9484, sections 3 and 4; RFC 9220).

The client composes the request from a URI Template (RFC 6570, up to level 3) and judges the response; the
server checks the request. A request we understand but do not serve is Refused, a malformed one a StreamError.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import quote, unquote

from mqvpn.connectip.error import Refused, malformed
from mqvpn.connectip.extension import INSTANCE, is_instance
from mqvpn.wire.address import Network

Headers = list[tuple[bytes, bytes]]

WELL_KNOWN = "/.well-known/masque/ip/"
EVERYTHING = {"target": "*", "ipproto": "*"}  # the variables of the template

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_VARIABLES = re.compile(r"[?&]?[A-Za-z0-9_.%]+(,[A-Za-z0-9_.%]+)*")
_TEMPLATE = re.compile(r"https://(?P<authority>[^/?#{}]+)(?P<rest>/[^#]*)")
_PATH = re.compile(re.escape(WELL_KNOWN) + r"([^/?]*)/([^/?]*)/")
_IPV6_PREFIX = re.compile(r"([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:/([0-9]{1,3}))?")
_IPV4_PREFIX = re.compile(r"([0-9]+(?:\.[0-9]+){3})(?:/([0-9]{1,2}))?")
_REG_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=-]{1,255}")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a tunnel is for (RFC 9484, section 4.6). None: everything ("*"). A str target is a DNS name."""

    target: Network | str | None = None
    protocol: int | None = None

    @classmethod
    def parse(cls, target: str, ipproto: str) -> "Scope":
        """Take the decoded variables; ValueError if they break the rules of section 4.6."""
        return cls(_parse_target(target), _parse_protocol(ipproto))


@dataclass(frozen=True, slots=True)
class ConnectIpRequest:
    """A request the server may accept. `token`: the bearer token, b"" if none came; `instance`: extension.INSTANCE,
    "" if the client names none."""

    scope: Scope
    token: bytes = field(repr=False)
    instance: str = field(default="", repr=False)


def default_template(host: str, port: int) -> str:
    """Return the URI Template for a proxy known by `host` and `port` only (RFC 9484, section 3)."""
    literal = f"[{host}]" if ":" in host else host
    return f"https://{literal}:{port}{WELL_KNOWN}{{target}}/{{ipproto}}/"


def compose(template: str, *, token: bytes = b"", extensions: Sequence[tuple[bytes, bytes]] = ()) -> Headers:
    """Return the header section that asks for a tunnel to everything; ValueError: RFC 9484, section 3, forbids
    `template`."""
    authority, path = _expand(template, EVERYTHING)
    headers = [
        (b":method", b"CONNECT"),
        (b":protocol", b"connect-ip"),
        (b":scheme", b"https"),
        (b":authority", authority.encode()),
        (b":path", path.encode()),
        (b"capsule-protocol", b"?1"),
    ]
    if token:
        headers.append((b"authorization", b"Bearer " + token))
    return [*headers, *extensions]


def check(headers: Headers) -> ConnectIpRequest:
    """Return the request in `headers`, as the server.

    Raises Refused with the status to answer, or StreamError if the request is malformed. The token is not
    judged here, nor is a DNS name in the scope resolved.
    """
    fields = _pseudo_headers(headers)
    if fields.get(b":method") != b"CONNECT":
        raise Refused(404, "not an IP proxying request")
    if b":protocol" not in fields:
        raise malformed("CONNECT without :protocol")
    # RFC 9220, section 3: for an unknown :protocol "the server SHOULD respond to the request with a 501 (Not
    # Implemented) status code".
    if fields[b":protocol"] != b"connect-ip":
        raise Refused(501, "another :protocol than connect-ip")
    # RFC 9484, section 4.4: "The :authority pseudo-header field SHALL contain the authority of the IP proxy."
    # "The :path and :scheme pseudo-header fields SHALL NOT be empty."
    if not all(fields.get(name) for name in (b":authority", b":path", b":scheme")):
        raise malformed("connect-ip without :authority, :path or :scheme")
    if fields[b":scheme"] != b"https":
        raise malformed("connect-ip with another :scheme than https")
    _check_content(headers)
    return ConnectIpRequest(_scope(_text(fields[b":path"])), _bearer_token(headers), _instance(headers))


def check_response(headers: Headers) -> bool:
    """Return whether the tunnel is open, as the client; False for an interim (1xx) response.

    Raises Refused with the server's status, or StreamError if the response is malformed.
    """
    status = _pseudo_headers(headers).get(b":status", b"")
    if not re.fullmatch(rb"[1-5][0-9][0-9]", status):
        raise malformed("a response without status")
    # RFC 9114, section 4.5: "HTTP/3 does not support ... the 101 (Switching Protocols) informational status
    # code".
    if status[:1] == b"1" and status != b"101":
        return False
    # RFC 9484, section 4.5: "any status code in the 3xx range will be treated as a failure".
    if status[:1] != b"2":
        raise Refused(int(status), "the server refused the tunnel")
    # RFC 9297, section 3.2: "HTTP status codes 204 (No Content), 205 (Reset Content), and 206 (Partial
    # Content) MUST NOT be sent on responses that use the Capsule Protocol." The Capsule-Protocol field is not
    # asked for: sending it is a SHOULD (section 3.4).
    if status in (b"204", b"205", b"206"):
        raise malformed(f"status {int(status)} on a response with capsules")
    _check_content(headers)
    return True


def compose_response(extensions: Sequence[tuple[bytes, bytes]] = ()) -> Headers:
    """Return the header section that opens the tunnel."""
    return [(b":status", b"200"), (b"capsule-protocol", b"?1"), *extensions]


def compose_refusal(refused: Refused) -> Headers:
    """Return the header section that says no."""
    # RFC 9297, section 3.4: the Capsule-Protocol field "MUST NOT be used on HTTP responses with a status code
    # that is both different from 101 (Switching Protocols) and outside the 2xx (Successful) range."
    return [(b":status", b"%d" % refused.status)]


def _expand(template: str, variables: dict[str, str]) -> tuple[str, str]:
    """Return the authority and the path with query."""
    # RFC 9484, section 3: "MUST only contain ASCII characters in the range 0x21-0x7E inclusive"; "MUST be in
    # absolute form"; "All template variables MUST be within the path or query components".
    parts = _TEMPLATE.fullmatch(template)
    if parts is None or not all(0x21 <= ord(character) <= 0x7E for character in template):
        raise ValueError(f"{template!r} is no absolute https:// URI Template")
    path = _EXPRESSION.sub(lambda match: _expand_expression(match[1], variables), parts["rest"])
    if "{" in path or "}" in path:
        raise ValueError(f"{template!r} is no URI Template: a brace is left over")
    return parts["authority"], path


def _expand_expression(expression: str, variables: dict[str, str]) -> str:
    # "The URI Template MUST be a level 3 template or lower." "MUST NOT use Reserved Expansion ("+" operator),
    # Fragment Expansion ("#" operator), Label Expansion with Dot-Prefix, Path Segment Expansion with
    # Slash-Prefix, nor Path-Style Parameter Expansion with Semicolon-Prefix."
    if not _VARIABLES.fullmatch(expression) or expression.startswith("."):
        raise ValueError(f"{{{expression}}} is not allowed in this URI Template")
    operator = expression[0] if expression[0] in "?&" else ""
    names = expression.removeprefix(operator).split(",")
    # "*" stays as it is, as in the examples of RFC 9484; deployed servers compare the path byte by byte.
    values = [(name, quote(variables[name], safe="*")) for name in names if name in variables]
    if not operator:
        return ",".join(value for _, value in values)
    pairs = "&".join(f"{name}={value}" for name, value in values)
    return operator + pairs if pairs else ""


def _pseudo_headers(headers: Headers) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b":"):
            if name in fields:
                raise malformed(f"{_text(name)} twice")
            fields[name] = value
    return fields


def _check_content(headers: Headers) -> None:
    # RFC 9297, section 3.2: "The Capsule Protocol MUST NOT be used with messages that contain Content-Length,
    # Content-Type, or Transfer-Encoding header fields."
    for name, _ in headers:
        if name.lower() in (b"content-length", b"content-type", b"transfer-encoding"):
            raise malformed(f"{_text(name)} on a message with capsules")


def _scope(path: str) -> Scope:
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refused(404, "no IP proxy at this path")
    # RFC 9484, section 4.1: "IP proxies MUST validate whether the decoded "target" and "ipproto" variables
    # meet the requirements in Section 4.6. If they do not, the IP proxy MUST treat the request as malformed".
    try:
        return Scope.parse(unquote(match[1], errors="strict"), unquote(match[2], errors="strict"))
    except ValueError as error:
        raise malformed(str(error)) from error


def _parse_target(text: str) -> Network | str | None:
    if text == "*":
        return None
    # RFC 9484, section 4.6: "the lower bits of the IP address that are not covered by the prefix length MUST
    # all be set to 0", which both constructors insist on.
    if match := _IPV6_PREFIX.fullmatch(text):
        return IPv6Network((match[1], int(match[2] or 128)))
    if match := _IPV4_PREFIX.fullmatch(text):
        return IPv4Network((match[1], int(match[2] or 32)))
    if _REG_NAME.fullmatch(text):
        return text
    raise ValueError("target is neither a prefix nor a name")


def _parse_protocol(text: str) -> int | None:
    if text == "*":
        return None
    # RFC 9484, section 4.6: ""ipproto" MUST represent a decimal integer between 0 and 255 inclusive".
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > 255:
        raise ValueError("ipproto is no Internet Protocol Number")
    return int(text)


def _bearer_token(headers: Headers) -> bytes:
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1:
        return b""
    scheme, _, token = values[0].partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _instance(headers: Headers) -> str:
    values = [value for name, value in headers if name.lower() == INSTANCE]
    if not values:
        return ""
    instance = values[0].decode("latin-1")
    if len(values) > 1 or not is_instance(instance):
        raise malformed(f"{INSTANCE.decode()} is not 16 to 64 characters of base64url")
    return instance


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise malformed("a header field that is not ASCII") from error
