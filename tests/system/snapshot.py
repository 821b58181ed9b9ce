"""The oracle of every clean-up test: all that our programs change on a host, as a value, and what differs.

It is taken before and after nearly every test, so it is one shell with few programs: some 10 ms of an idle machine.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

SYSCTLS = (
    "ipv4/ip_forward ipv[46]/conf/*/forwarding ipv[46]/conf/*/rp_filter ipv6/conf/*/accept_ra"
    " ipv[46]/conf/*/accept_redirects ipv4/conf/*/src_valid_mark"
)
SCRIPT = f"""printf 'addr show\\nroute show table all\\nrule show\\n' | ip -j -batch - && ip -j -6 rule show && \\
nft -j list ruleset && cd /proc/sys/net && grep -sH '' {SYSCTLS}"""
PARTS = ("addresses", "routes", "rules4", "rules6", "nftables")  # of its output, each a line of JSON
RESOLV_CONF = "resolv.conf"  # in /etc; ip-netns(8) may put another one there
OURS = re.compile(r'"protocol": "171"|"name": "mqvpn_')
TIMES = {"valid_life_time", "preferred_life_time", "expires", "cache"}
VOLATILE = TIMES | {"handle", "packets", "bytes", "metainfo", "operstate", "tentative"}
CARRIER = {"LOWER_UP", "NO-CARRIER", "linkdown"}  # flags that the other end of a link decides
KERNELS = re.compile("^(fe80:|ff00::/8$)")  # destinations that come and go with a link


def snapshot(netns: str | None = None) -> dict[str, Any]:
    """Addresses, routes of all tables, rules, nftables, sysctls and resolv.conf of a namespace (None: this one).

    Without what changes by itself: counters, times, carriers, link-local addresses.
    """
    enter = [] if netns is None else ["nsenter", f"--net=/run/netns/{netns}"]
    words = [*enter, "sh", "-c", SCRIPT]
    lines = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    state: dict[str, Any] = {p: _items(p, json.loads(line or "[]")) for p, line in zip(PARTS, lines, strict=False)}
    sysctls = (line.rpartition(":") for line in lines[len(PARTS) :])
    state["sysctls"] = {"net." + name.replace("/", "."): value for name, _, value in sysctls}
    state["resolv.conf"] = _resolv_conf(netns)
    return state


def ours(state: dict[str, Any]) -> list[str]:
    """Routes and rules of our protocol number, and our tables of the firewall."""
    parts = ("routes", "rules4", "rules6", "nftables")
    return [f"{part}: {item}" for part in parts for item in state[part] if OURS.search(item)]


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for everything that was added, lost or changed; empty when nothing was."""
    lines: list[str] = []
    for part in before:
        if part == "sysctls":
            old, new = before[part], after[part]
            names = sorted(old.keys() | new.keys())
            lines += [f"{n}: {old.get(n)} -> {new.get(n)}" for n in names if old.get(n) != new.get(n)]
        else:
            lines += [f"{part} lost: {item}" for item in before[part] if item not in after[part]]
            lines += [f"{part} added: {item}" for item in after[part] if item not in before[part]]
    return lines


def _items(part: str, found: Any) -> list[str]:
    """One text for each, sorted."""
    items = [_steady(item) for item in (found["nftables"] if part == "nftables" else found)]
    if part == "routes":
        items = [item for item in items if not KERNELS.match(item["dst"])]
    return sorted(json.dumps(item, sort_keys=True) for item in items)


def _steady(value: Any) -> Any:
    """The value without what changes by itself."""
    if isinstance(value, list):
        return [_steady(item) for item in value if not _link_local(item)]
    if not isinstance(value, dict):
        return value
    kept = {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    if "flags" in kept and isinstance(kept["flags"], list):
        kept["flags"] = [flag for flag in kept["flags"] if flag not in CARRIER]
    return kept


def _link_local(item: Any) -> bool:
    """Whether this is an address that the kernel makes."""
    return isinstance(item, dict) and item.get("family") == "inet6" and str(item.get("local")).startswith("fe80:")


def _resolv_conf(netns: str | None) -> list[str]:
    """What the file is (a link's target shows), its mode and owner, and its lines."""
    path = Path("/etc/netns", netns or "", RESOLV_CONF)
    if netns is None or not path.exists():
        path = Path("/etc", RESOLV_CONF)
    try:
        status = path.lstat()
        kind = f"-> {path.readlink()}" if path.is_symlink() else f"{status.st_mode:o} {status.st_uid} {status.st_gid}"
        return [kind, *(path.read_text().splitlines() if path.exists() else ())]
    except FileNotFoundError:
        return ["absent"]
