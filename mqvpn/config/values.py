"""Small values of the configuration: HostPort, PathSetting, Secret, User, pins.

Each has `read(text)`, which raises ValueError saying what to write instead; the caller adds file and line.
A Secret never shows itself: not in repr, str, format or an error message.
"""

import hashlib
import hmac
import os
import re
import stat
from base64 import b64decode, b64encode
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from mqvpn.config.credential import PREFIX, credential_path

MAX_KEY = 255  # bytes; the C mqvpn's limit, so that both ends can hold every key
MAX_NAME = 63
PIN = "sha256//"  # as curl writes it
DEFAULT_PORT = 443
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
AUTO = "auto"  # every interface by which the server can be reached
PARTS = ("role", "weight", "cap")  # of a path, behind its interface
ROLES = ("primary", "backup")
USER_NAME = re.compile(r'[^"\\:,]+')


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name or address literal, and a UDP port. IPv6 literals are held without brackets."""

    host: str
    port: int

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address if `host` is a literal, None if it is a name to resolve."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def read(cls, text: str) -> Self:
        """HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
        bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
        if bracketed:
            host, port = bracketed.groups()
            if not isinstance(_literal(host), IPv6Address):
                raise ValueError("between [ and ] an IPv6 address is expected, such as [2001:db8::1]:443")
        elif text.count(":") > 1:
            raise ValueError("an IPv6 address is written in brackets, such as [2001:db8::1]:443")
        else:
            host, colon, port = text.partition(":")
            host_name(host)
            port = port if colon else None
        return cls(host, DEFAULT_PORT if port is None else _port(port))


@dataclass(frozen=True, slots=True)
class PathSetting:
    """One `Path`: the interface whose socket carries this path, or what several are called, and its part among the
    others."""

    interface: str
    role: str = ""  # primary or backup; "": primary, unless the scheduler's name says otherwise
    weight: float = 1.0  # of its share of what this end sends
    cap: int = 0  # bytes in a period, 0: none
    period: str = ""  # day, week or month

    @classmethod
    def read(cls, text: str) -> Self:
        """IFACE, a pattern with *, or auto, and behind it any of the PARTS."""
        name, *details = (part.strip() for part in text.split(";"))
        given = dict[str, str]()
        for word, equals, value in (detail.partition("=") for detail in details):
            if not equals or word.strip() not in PARTS or word.strip() in given:
                known = "; role=backup, ; weight=0.5 and ; cap=5G/month"
                raise ValueError(f"behind the interface {known} are known, each once")
            given[word.strip()] = value.strip()
        if given.get("role", ROLES[0]) not in ROLES:
            raise ValueError(f"a role is one of {', '.join(ROLES)}")
        if name != AUTO and is_pattern(name):
            interface_name(name.replace("*", "x"))
        elif name != AUTO:
            interface_name(name)
        return cls(name, given.get("role", ""), _weight(given.get("weight", "1")), *_cap(given.get("cap", "")))


class Secret:
    """A shared key. Only `reveal()` shows it; comparing takes the same time whatever differs."""

    __slots__ = ("_digest", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha256(text.encode()).digest()

    def reveal(self) -> str:
        """The key itself, to be put on the wire and nowhere else."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return "Secret(...)"

    @classmethod
    def read(cls, text: str) -> Self:
        """The key, or file:/PATH or credential:NAME for a file which holds nothing but the key."""
        if text.startswith(PREFIX):
            text = _read_key_file(credential_path(text))
        elif text.startswith("file:"):
            text = _read_key_file(text.removeprefix("file:"))
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise ValueError("the key is not valid text; write what mqvpn --genkey prints") from None
        if not text or size > MAX_KEY:
            raise ValueError(f"a key has 1 to {MAX_KEY} bytes; write what mqvpn --genkey prints")
        if not text.isprintable():
            raise ValueError("the key holds a control character; write what mqvpn --genkey prints")
        return cls(text)


@dataclass(frozen=True, slots=True)
class User:
    """A client that has a key of its own: it cannot connect any more when its line is removed."""

    name: str
    key: Secret

    @classmethod
    def read(cls, text: str) -> Self:
        """NAME:KEY."""
        name, colon, key = (part.strip() for part in text.partition(":"))
        if not colon:
            raise ValueError("NAME:KEY is expected; a key which holds a comma must be in quotes")
        if not USER_NAME.fullmatch(name) or not name.isprintable() or len(name.encode()) > MAX_NAME:
            raise ValueError(f'a user name has 1 to {MAX_NAME} bytes, none of them " \\ : or ,')
        return cls(name, Secret.read(key))


def is_pattern(text: str) -> bool:
    """Whether a `Path` can mean several interfaces."""
    return text == AUTO or "*" in text


def interface_name(text: str) -> str:
    """A name which Linux accepts for an interface (IFNAMSIZ, no '/', ':' or blank), and that nftables takes for no
    pattern."""
    if not re.fullmatch(r"[!-~]{1,15}", text) or text in (".", "..") or set(text) & set('/:%,;*"\\'):
        raise ValueError('an interface name has 1 to 15 characters without blanks or any of / : % , ; * " \\')
    return text


def read_pin(text: str) -> str:
    """sha256//BASE64, of the server's public key (RFC 7469, section 2.4)."""
    kind, digest = text[: len(PIN)], text[len(PIN) :]
    try:
        content = b64decode(digest, validate=True)
    except ValueError:
        content = b""
    if kind != PIN or len(content) != hashlib.sha256().digest_size:
        raise ValueError(f"write {PIN} and 44 characters, as mqvpn-setup pin prints them on the server")
    return PIN + b64encode(content).decode()


def _cap(text: str) -> tuple[int, str]:
    """NUMBER, K, M, G or T (of 1000), / and day, week or month; nothing: no cap."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([KMGT])/(day|week|month)", text)
    if text and match is None:
        raise ValueError("a cap is written like 500M/day, 2G/week or 5G/month")
    return (int(match[1]) * 1000 ** (1 + "KMGT".index(match[2])), match[3]) if match else (0, "")


def _weight(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or not 0.01 <= float(text) <= 100:
        raise ValueError("a weight is a number from 0.01 to 100, such as 0.5")
    return float(text)


def _literal(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def host_name(host: str) -> str:
    """A host name (RFC 1123, section 2.1, and underscores) or an address literal, without a port."""
    if _literal(host):
        return host
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("a host is expected, such as vpn.example.com or 192.0.2.1 or [2001:db8::1]")
    if labels[-1].isdigit():
        raise ValueError("this is neither an IPv4 address nor a host name; write it like 192.0.2.1")
    return host


def domain_name(text: str) -> str:
    """A DNS domain in lower case and without the last dot; one that begins with ~ only routes names."""
    name = text.removeprefix("~").removesuffix(".").lower()
    if text == "~.":
        return text
    if _literal(name) or len(name) > 253 or not all(LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("a domain is expected, such as example.com or ~example.com; separate several by commas")
    return f"~{name}" if text.startswith("~") else name


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("the port after ':' is a number from 1 to 65535")
    return int(text)


def _read_key_file(path: str) -> str:
    if not os.path.isabs(path) or "\0" in path:
        raise ValueError("behind file: an absolute path is expected, such as file:/etc/mqvpn/auth.key")
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("the key file is not a regular file")
            content = file.read(4096)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is not valid text"
        raise ValueError(f"the key file cannot be read: {reason}") from None
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("the key file does not hold text; write what mqvpn --genkey prints") from None
