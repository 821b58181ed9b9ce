"""What the state of a daemon means, in words: pure judgement over what status and machine.py say.

Each finding is about one thing, and a problem says what to do. Nothing is asked here and nothing is sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
DAY = 86400
EXPIRES_SOON = 14 * DAY
USUAL_UDP = 1400  # bytes of UDP payload
LOSSY = 0.05
SOME = 100  # packets, before a share of them means something

Values = Mapping[str, Any]

# What a reason of wire.drop.Drop points at, if it is not the weather.
DROPS = {
    "source_not_assigned": "programs, or machines behind this one, send from addresses that the server did not assign",
    "no_path": "packets came while no path worked",
    "too_big": "packets were larger than the tunnel's MTU: their sender does not listen to ICMP",
    "queue_full": "more traffic came than the paths carry",
    "queue_delay": "more traffic came than the paths carry, and the oldest was dropped, as it should be",
    "tun_queue": "the TUN interface lost packets in front of the tunnel: the machine is too busy",
    "tun_write": "the kernel refused packets on the TUN interface",
    "socket_send": "the kernel refused packets on the UDP sockets: a firewall here, or an interface that went",
    "undecryptable": "packets came broken or forged",
    "bad_offload": "a network driver hands over packets with wrong offload data: switch its GRO off (ethtool -K)",
    "no_memory": "more packets waited at once than the limits allow, or the machine is out of memory",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: how bad, about what, and in words."""

    level: str
    about: str
    text: str


def of_tunnel(told: Values) -> Iterator[Finding]:
    """A client's state, and how its last tunnel ended."""
    if told["state"] == "up":
        yield Finding(OK, "tunnel", f"connected to {told['server']['name']}, MTU {told['mtu']}")
    else:
        yield Finding(PROBLEM, "tunnel", f"not connected: {told['state']}")
    if closed := told["last_close"]:
        level = NOTE if told["state"] == "up" else PROBLEM
        yield Finding(level, "last end", f"{closed['ago']} s ago: {closed['reason']}{_advice(closed['cause'])}")
    if closed and "not valid yet" in closed["reason"]:
        yield Finding(PROBLEM, "clock", "the server's certificate is not valid yet by this machine's clock: set it")


def _advice(cause: str) -> str:
    if cause == "refused":
        return "; compare [Auth] Key with the server's, and see that the user is still listed there"
    if cause == "untrusted":
        return "; set [Server] Pin or CA as the server's administrator says, or ServerName to the certificate's name"
    return ""


def of_certificate(valid_from: float, valid_until: float, now: float) -> Finding:
    """A server's certificate against this machine's clock, in seconds since 1970."""
    if now < valid_from:
        text = f"not valid before {(valid_from - now) / DAY:.1f} days from now: is this machine's clock right?"
        return Finding(PROBLEM, "certificate", text)
    if now > valid_until:
        return Finding(PROBLEM, "certificate", f"expired {(now - valid_until) / DAY:.1f} days ago: renew it")
    days = f"{(valid_until - now) / DAY:.0f} days"
    if valid_until - now < EXPIRES_SOON:
        return Finding(WARNING, "certificate", f"expires in {days}: renew it")
    return Finding(OK, "certificate", f"valid for another {days}")


def of_path(path: Values) -> Iterator[Finding]:
    """A path that the tunnel has."""
    about = f"path {path['interface'] or path['id']}"
    if path["state"] == "suspect":
        yield Finding(PROBLEM, about, f"{path['remote']} does not answer any more; it is asked twice a second")
        return
    if not path["usable"]:
        yield Finding(WARNING, about, f"not in use yet: {path['state']}")
        return
    yield Finding(OK, about, f"carries packets, {path['rtt_ms']:.1f} ms to {path['remote']}")
    if 0 < path["mtu"] < USUAL_UDP:
        text = f"takes only {path['mtu']} bytes of UDP: a link on the way has a small MTU, and so has the whole tunnel"
        yield Finding(WARNING, about, text)
    sent = path["tx_packets"]
    if sent >= SOME and path["lost"] / sent >= LOSSY:
        yield Finding(WARNING, about, f"loses {100 * path['lost'] / sent:.0f}% of the packets sent")


def of_dns(dns: Values | None) -> Iterator[Finding]:
    """The tunnel's own DNS, if the settings want one."""
    if dns is None:
        return
    if dns["problem"]:
        yield Finding(PROBLEM, "DNS", f"of the tunnel, by {dns['by']}: {dns['problem']}")
    elif dns["in_effect"]:
        yield Finding(OK, "DNS", f"of the tunnel is in effect, by {dns['by']}")
    else:
        yield Finding(NOTE, "DNS", f"of the tunnel is not in effect yet, by {dns['by']}")


def of_drops(told: Values) -> Iterator[Finding]:
    """Packets that were given up, where the reason points at a cause."""
    counts = dict(told["drops"]) | {"tun_queue": told["tun"].get("tx_dropped", 0)}
    for reason, meaning in DROPS.items():
        if count := counts.get(reason, 0):
            level = NOTE if reason.startswith("queue") else WARNING
            yield Finding(level, "dropped", f"{count} packets ({reason}): {meaning}")


def of_server(told: Values) -> Iterator[Finding]:
    """A server's state."""
    yield Finding(OK, "server", f"serves {told['listen']}, {told['connected']} of {told['max_clients']} clients")
    if told["connected"] >= told["max_clients"]:
        yield Finding(PROBLEM, "clients", "MaxClients is reached: others are refused with status 503")
    for status, count in sorted(told["refused"].items()):
        meaning = {"403": "their key is not (or no longer) one of ours", "503": "no place or no address was left"}
        because = f": {meaning[status]}" if status in meaning else ""
        yield Finding(NOTE, "clients", f"{count} requests were refused with status {status}{because}")
    if told["internal_errors"]:
        text = f"{told['internal_errors']} connections ended by an internal error: please report it, with the log"
        yield Finding(WARNING, "server", text)
