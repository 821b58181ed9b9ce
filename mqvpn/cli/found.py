"""What mqvpn-setup need not ask: the machine's names, addresses, networks and uplinks. Sends no packet of its own."""

import secrets
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from mqvpn.config.values import host_name

Address = IPv4Address | IPv6Address
# Documentation addresses: a UDP socket "connected" to one knows which source address the default route has.
SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
ROUTES, ROUTES_6, ADDRESSES_6 = (Path("/proc/net") / name for name in ("route", "ipv6_route", "if_inet6"))
RTF_UP, RTF_REJECT = 0x1, 0x200


def addresses() -> list[Address]:
    """The source addresses of the default routes, IPv4 first."""
    found: list[Address] = []
    for family, somewhere in SOMEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found.append(ip_address(probe.getsockname()[0]))
    return found


def full_name() -> str:
    """The machine's name with its domain, if it leads to one of its own addresses; else empty."""
    name = socket.getfqdn()
    with suppress(OSError, ValueError):
        leads_to = {entry[4][0] for entry in socket.getaddrinfo(host_name(name), None)}
        if "." in name and leads_to & set(map(str, addresses())):
            return name
    return ""


def has_ipv6() -> bool:
    """Whether the kernel speaks IPv6 at all."""
    return ADDRESSES_6.exists()


def uplinks() -> list[str]:
    """The interfaces with a default route, those of the lowest metric first."""
    found = [(metric, name) for name, to, metric in _routes() if to == IPv4Network("0.0.0.0/0")]
    found += [(metric, name) for name, metric in _default_routes_6()]
    return list(dict.fromkeys(name for _, name in sorted(found)))


def free_subnet() -> IPv4Network:
    """A random /24 of 10.0.0.0/8 that no route of this machine overlaps, and likely none of the clients'."""
    taken = [to for _, to, _ in _routes() if to.prefixlen]
    candidates = (IPv4Network((0x0A000000 | secrets.randbelow(1 << 16) << 8, 24)) for _ in range(1000))
    return next(network for network in candidates if not any(network.overlaps(to) for to in taken))


def unique_subnet6() -> IPv6Network:
    """A random unique local prefix (RFC 4193), of which the clients get the first 65536 addresses."""
    return IPv6Network((0xFD << 120 | secrets.randbits(40) << 80, 112))


def _routes() -> list[tuple[str, IPv4Network, int]]:
    """Interface, destination and metric of each IPv4 route of the main table (proc_net(5))."""
    found = []
    for line in _lines(ROUTES)[1:]:
        name, to, _, flags, _, _, metric, mask, *_ = line.split()
        if int(flags, 16) & RTF_UP and not int(flags, 16) & RTF_REJECT:
            network, bits = socket.htonl(int(to, 16)), socket.htonl(int(mask, 16)).bit_count()
            found.append((name, IPv4Network((network, bits)), int(metric)))
    return found


def _default_routes_6() -> list[tuple[str, int]]:
    found = []
    for line in _lines(ROUTES_6):
        to, length, _, _, _, metric, _, _, flags, name = line.split()
        if int(to, 16) == int(length, 16) == 0 and not int(flags, 16) & RTF_REJECT and name != "lo":
            found.append((name, int(metric, 16)))
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
