"""What a link's DNS should be, as a value, and whether this machine's lookups are answered by systemd-resolved.

resolved.py tells systemd-resolved; resolvconf.py and resolvfile.py serve machines without it. A value may come
from a stranger (dnsrequest.py), so it checks itself: names are LDH labels, addresses have no zone.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

Address = IPv4Address | IPv6Address

LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
MAX_SERVERS, MAX_DOMAINS, MAX_NAME = 8, 64, 253
OVER_TLS = ("", "no", "opportunistic", "yes")  # "": as systemd-resolved is set
ETC = Path("/etc")
STUB = ("127.0.0.53", "127.0.0.54")


@dataclass(frozen=True, slots=True)
class LinkDns:
    """Name servers for all names; `domains` are search domains, or with ~ only route names. Raises ValueError."""

    servers: tuple[Address, ...]
    domains: tuple[str, ...] = ()
    over_tls: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.servers) <= MAX_SERVERS or len(self.domains) > MAX_DOMAINS:
            raise ValueError(f"1 to {MAX_SERVERS} name servers and at most {MAX_DOMAINS} domains are expected")
        if any(isinstance(address, IPv6Address) and address.scope_id for address in self.servers):
            raise ValueError("the address of a name server must have no zone")
        if not all(domain == "~." or _is_name(domain.removeprefix("~")) for domain in self.domains):
            raise ValueError("a domain is not a DNS name")
        if self.over_tls not in OVER_TLS:
            raise ValueError("DNS over TLS is no, opportunistic or yes")

    @property
    def search(self) -> tuple[str, ...]:
        """The domains to try behind short names."""
        return tuple(domain for domain in self.domains if not domain.startswith("~"))

    def resolv_conf(self) -> str:
        """As resolv.conf(5) has it. There all names go to these servers, so routing domains say nothing new."""
        lines = [f"nameserver {address}" for address in self.servers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}")
        return "\n".join(lines) + "\n"


def resolved_is_asked(etc: Path = ETC) -> bool:
    """Whether the C library's lookups go to systemd-resolved: by nss-resolve, or by its file or stub address."""
    if "resolve" in _hosts_modules(etc / "nsswitch.conf"):
        return True
    resolv_conf = etc / "resolv.conf"
    if resolv_conf.is_symlink() and "/systemd/resolve/" in str(resolv_conf.readlink()):
        return True
    servers = name_servers_in(_text(resolv_conf))
    return bool(servers) and all(server in STUB for server in servers)


def name_servers_in(resolv_conf: str) -> list[str]:
    """What a file of that kind (resolv.conf(5)) names, as it is written there."""
    words = (line.split() for line in resolv_conf.splitlines())
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _hosts_modules(nsswitch: Path) -> list[str]:
    for line in _text(nsswitch).splitlines():
        database, _, modules = line.partition("#")[0].partition(":")
        if database.strip() == "hosts":
            return modules.split()
    return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and all(LABEL.fullmatch(label) for label in text.split("."))
