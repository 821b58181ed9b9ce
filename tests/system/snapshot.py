"""The oracle of every clean-up test: all that our programs change on a host, as a value, and what differs."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

COMMANDS = {
    "addresses": "ip -j addr show",
    "routes4": "ip -j -4 route show table all",
    "routes6": "ip -j -6 route show table all",
    "rules4": "ip -j -4 rule show",
    "rules6": "ip -j -6 rule show",
}
SYSCTLS = ("ip_forward", "forwarding", "rp_filter", "accept_ra", "accept_redirects", "src_valid_mark")
RESOLV_CONF = "/etc/resolv.conf"  # ip-netns(8) may put another one there
OURS = re.compile(r'"protocol": "171"|"name": "mqvpn_')
TIMES = {"valid_life_time", "preferred_life_time", "expires", "cache"}
VOLATILE = TIMES | {"handle", "packets", "bytes", "metainfo"}


def snapshot(netns: str | None = None) -> dict[str, Any]:
    """Addresses, routes of all tables, rules, nftables, sysctls and resolv.conf of a namespace (None: this one)."""
    state: dict[str, Any] = {name: _items(_run(netns, command)) for name, command in COMMANDS.items()}
    state["nftables"] = _items(json.dumps(json.loads(_run(netns, "nft -j list ruleset"))["nftables"]))
    state["sysctls"] = _sysctls(netns)
    state["resolv.conf"] = _resolv_conf(netns)
    return state


def ours(state: dict[str, Any]) -> list[str]:
    """Routes and rules of our protocol number, and our tables of the firewall."""
    parts = ("routes4", "routes6", "rules4", "rules6", "nftables")
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


def _run(netns: str | None, command: str) -> str:
    words = command.split()
    if netns is not None:
        words = ["ip", "netns", "exec", netns, *words]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout or "[]"


def _items(text: str) -> list[str]:
    return sorted(json.dumps(_steady(item), sort_keys=True) for item in json.loads(text))


def _steady(value: Any) -> Any:
    """The value without what changes by itself."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def _sysctls(netns: str | None) -> dict[str, str]:
    pattern = rf"^net\.ipv[46]\.(ip_forward|conf\..*\.({'|'.join(SYSCTLS)}))$"
    lines = _run(netns, f"sysctl -a -r {pattern}").splitlines()
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def _resolv_conf(netns: str | None) -> list[str]:
    """What the name is (a link's target shows), its mode and owner, and its lines."""
    script = f"stat -c '%N %a %u %g' {RESOLV_CONF}; cat {RESOLV_CONF}"
    words = ["sh", "-c", script] if netns is None else ["ip", "netns", "exec", netns, "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout or "absent").splitlines()
