"""What goes into the tunnel: how Routes, Exclude, Advertise, Table, FwMark are written, and what excludes what."""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from mqvpn.config.errors import ConfigError
from mqvpn.config.setting import read_network

DEFAULT, NONE, SERVER = "default", "none", "server"
MAX_PREFIXES = 512
KERNELS_TABLES = (253, 254, 255)  # default, main, local
SPLIT = (
    "[Interface] KillSwitch: what Routes does not lead into the tunnel is refused; "
    "name in Exclude what may leave directly"
)

Network = IPv4Network | IPv6Network
read_prefix = read_network(None, 1, 128)


def read_route(text: str) -> Network | str:
    """default, none, server, or a prefix."""
    word = text.lower()
    if word in (DEFAULT, NONE, SERVER):
        return word
    if "/" not in text:
        raise ValueError("write default, none, server or prefixes such as 10.0.0.0/8, 2001:db8::/32")
    return read_prefix(text)


def read_advertised(text: str) -> Network | str:
    """default, or a prefix."""
    if text.lower() == DEFAULT:
        return DEFAULT
    if "/" not in text:
        raise ValueError("write default or prefixes such as 10.0.0.0/8, 2001:db8::/32")
    return read_prefix(text)


def read_number(low: int, high: int, *, taken: tuple[int, ...] = ()) -> Callable[[str], int]:
    """Numbers from low to high, in decimal or, with 0x, in hexadecimal digits, but those that are taken."""

    def read(text: str) -> int:
        decimal, hexadecimal = re.fullmatch(r"[0-9]{1,10}", text), re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text)
        value = int(text) if decimal else int(text, 16) if hexadecimal else -1
        if not low <= value <= high:
            raise ValueError(f"write a number from {low} to {high}")
        if value in taken:
            raise ValueError(f"{value} is the kernel's own; write another number")
        return value

    return read


def check_routes(values: Mapping[str, Any], source: str) -> list[str]:
    """Settings of routes that cannot be had together; returns the warnings. Raises ConfigError."""
    routes, exclude = values.get("routes", ()), values.get("exclude", ())
    place = f"{source}: [Interface]"
    if NONE in routes and len(routes) > 1:
        raise ConfigError(f"{place} Routes: none stands alone; remove it, or the others")
    if both := set(routes) & set(exclude):
        raise ConfigError(f"{place} Exclude: {min(map(str, both))} is in Routes too; keep one of them")
    if not values.get("manage_routes", True):
        for name, key in (("routes", "Routes"), ("table", "Table"), ("metric", "Metric"), ("ipv6", "IPv6")):
            if name in values:
                raise ConfigError(f"{place} {key}: of no use with ManageRoutes = false; remove one of the two")
    if not values.get("kill_switch"):
        return []
    if values.get("ipv6") == "allow":
        raise ConfigError(f"{place} IPv6: KillSwitch blocks IPv6 too; remove IPv6 = allow, or KillSwitch")
    return [] if not routes or DEFAULT in routes else [SPLIT]
