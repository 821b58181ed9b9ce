"""What the client asks mqvpn-dns, the program that may write /etc, and its answer: one line of JSON each.

mqvpn-dns runs as root and the client does not, so a request is read as a stranger's: known keys, types, lengths
and characters only, else ValueError, whose text quotes nothing of it.
"""

import json
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from mqvpn.system.dns import Address, LinkDns

MAX_LINE = 16384  # bytes
INSTANCE = re.compile(r"[A-Za-z0-9_@+][A-Za-z0-9:_.@+\\-]{0,127}")
INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,14}")
VERBS = ("apply", "restore")
MODES = ("auto", "resolvconf", "file")


@dataclass(frozen=True, slots=True)
class Request:
    """apply: give `interface` this DNS. restore: take back what `instance` was given."""

    verb: str
    instance: str
    interface: str = ""
    mode: str = "auto"
    dns: LinkDns | None = None

    def encode(self) -> bytes:
        fields: dict[str, Any] = {"verb": self.verb, "instance": self.instance}
        if self.dns is not None:
            fields |= {"interface": self.interface, "mode": self.mode}
            fields |= {"servers": [str(address) for address in self.dns.servers], "domains": list(self.dns.domains)}
        return json.dumps(fields).encode() + b"\n"


def decode(line: bytes) -> Request:
    """The request in a line. Raises ValueError."""
    if len(line) > MAX_LINE or not line.endswith(b"\n"):
        raise ValueError(f"a request is one line of at most {MAX_LINE} bytes")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("a request is a line of JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("a request is a JSON object")
    verb = _choice(fields, "verb", VERBS)
    expected = {"verb", "instance"} | ({"interface", "mode", "servers", "domains"} if verb == "apply" else set())
    if fields.keys() != expected:
        raise ValueError(f"a request to {verb} has the keys {', '.join(sorted(expected))}")
    if verb == "restore":
        return Request(verb, _text(fields, "instance", INSTANCE))
    dns = LinkDns(_addresses(_list(fields, "servers")), tuple(_list(fields, "domains")))
    interface = _text(fields, "interface", INTERFACE)
    return Request(verb, _text(fields, "instance", INSTANCE), interface, _choice(fields, "mode", MODES), dns)


@dataclass(frozen=True, slots=True)
class Answer:
    """Who was told (`by`: resolvconf or file), what the operator should know, or why it failed."""

    by: str = ""
    note: str = ""
    error: str = ""

    def encode(self) -> bytes:
        return json.dumps({"by": self.by, "note": self.note, "error": self.error}).encode() + b"\n"


def decode_answer(line: bytes) -> Answer:
    """The answer in a line. Raises ValueError."""
    fields = json.loads(line)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("an answer is an object of texts")
    return Answer(fields.get("by", ""), fields.get("note", ""), fields.get("error", ""))


def _text(fields: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = fields[key]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} is not a name of that kind")
    return value


def _choice(fields: dict[str, Any], key: str, words: tuple[str, ...]) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{key} is one of {', '.join(words)}")
    return value


def _addresses(texts: list[str]) -> tuple[Address, ...]:
    try:
        return tuple(ip_address(text) for text in texts)
    except ValueError:
        raise ValueError("servers holds IP addresses") from None


def _list(fields: dict[str, Any], key: str) -> list[str]:
    value = fields[key]
    if not isinstance(value, list) or not all(isinstance(item, str) and len(item) < 256 for item in value):
        raise ValueError(f"{key} is a list of texts")
    return value
