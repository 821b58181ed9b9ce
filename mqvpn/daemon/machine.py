"""What this machine says about the ways to the server: names, interfaces, routes, an answer to a probe, DNS, clock.

It asks the kernel and sends a few probes, all in two seconds or so, so it belongs beside the loop (aside.py), or into a
command of its own while no daemon runs.
"""

import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.daemon.findings import OK, PROBLEM, WARNING, Finding
from mqvpn.daemon.interfaces import chosen
from mqvpn.daemon.resolve import Unresolved, look_up
from mqvpn.multipath.mtu import HEADERS
from mqvpn.multipath.search import BASE
from mqvpn.system.dns import name_servers_in, resolved_is_asked
from mqvpn.system.link import Interface, Netlink
from mqvpn.system.probe import Outcome, Target, explain, probe

Endpoint = tuple[str, int]

RESOLV_CONF = Path("/etc/resolv.conf")
PROC_SYS = Path("/proc/sys/net/ipv4/conf")
TIMESYNC = Path("/run/systemd/timesync")
MAX_NAMES = 4  # interfaces named in a hint


def of_names(settings: ClientSettings, servers: list[Endpoint]) -> Iterator[Finding]:
    """The server's addresses, which are left in `servers`."""
    for address in settings.servers:
        try:
            found = look_up(address.host, address.port)
        except Unresolved as error:
            yield Finding(PROBLEM, "name", f"{error}; is this machine's DNS working?")
            continue
        servers += found
        if address.address is None:
            yield Finding(OK, "name", f"{address.host} is {', '.join(host for host, _ in found)}")


def of_interfaces(settings: ClientSettings, netlink: Netlink, servers: list[Endpoint]) -> Iterator[Finding]:
    """Each configured interface, up to whether the server answers through it. Raises OperationFailed."""
    present = netlink.interfaces()
    targets: dict[str, list[Target]] = {}
    wanted = [path.interface for path in settings.paths]

    def leads(interface: Interface) -> bool:
        return bool(_ways(interface.name, present, netlink, servers, settings.fwmark)[1])

    names = chosen(wanted, present, (), leads)
    if wanted and not names:
        yield Finding(PROBLEM, "paths", f"no interface is meant by Path = {', '.join(wanted)}, or leads to the server")
    for name in names if wanted else [""]:
        found, reached = _ways(name, present, netlink, servers, settings.fwmark)
        yield from found
        targets[name] = [Target(name, server) for server in reached]
    outcomes = probe([target for some in targets.values() for target in some], settings.fwmark)
    for name, some in targets.items():
        if some:
            yield _probed(name, {target: outcomes[target] for target in some})
    if not settings.manage_routes:
        yield from _filters([name for name in targets if name])


def of_dns() -> Iterator[Finding]:
    """Who answers this machine's questions for names."""
    if resolved_is_asked():
        yield Finding(OK, "DNS", "systemd-resolved answers this machine's lookups (resolvectl shows whom it asks)")
        return
    try:
        text = RESOLV_CONF.read_text(errors="replace")
    except OSError as error:
        yield Finding(WARNING, "DNS", f"{RESOLV_CONF}: {error.strerror}: names cannot be looked up")
        return
    servers = name_servers_in(text)
    owner = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), "")
    by = f" ({owner[:60]})" if owner else ""
    yield Finding(OK if servers else WARNING, "DNS", f"{RESOLV_CONF}{by} names {', '.join(servers) or 'no server'}")


def of_clock(now: float) -> Iterator[Finding]:
    """Whether the clock can be right: certificates are judged by it."""
    built = Path(__file__).stat().st_mtime
    if now < built:
        text = f"it says {time.strftime('%Y-%m-%d', time.gmtime(now))}, before this program was installed: set it"
        yield Finding(PROBLEM, "clock", text)
    elif TIMESYNC.is_dir() and not (TIMESYNC / "synchronized").exists():
        yield Finding(WARNING, "clock", "not synchronized yet (timedatectl shows it)")
    else:
        yield Finding(OK, "clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def _ways(
    name: str, present: Mapping[str, Interface], netlink: Netlink, servers: list[Endpoint], mark: int
) -> tuple[list[Finding], list[Endpoint]]:
    """What is wrong with an interface, and the addresses of the server that it has a route to."""
    about = f"path {name or 'default'}"
    if not name:
        return [], servers
    interface = present.get(name)
    if interface is None:
        others = ", ".join(sorted(set(present) - {"lo"})[:MAX_NAMES])
        return [Finding(PROBLEM, about, f"there is no interface {name}; there are {others or 'none'}")], []
    if not interface.up:
        return [Finding(PROBLEM, about, f"the interface is down (ip link set {name} up)")], []
    if not interface.carrier:
        return [Finding(PROBLEM, about, "no carrier: the cable is out, or the radio has no connection")], []
    versions = {address.version for address in interface.addresses}
    fitting = [server for server in servers if ip_address(server[0].partition("%")[0]).version in versions]
    if servers and not fitting:
        kinds = " or ".join(sorted({f"IPv{ip_address(host.partition('%')[0]).version}" for host, _ in servers}))
        return [Finding(PROBLEM, about, f"the interface has no {kinds} address, which the server's needs")], []
    reached = [server for server in fitting if netlink.reaches(ip_address(server[0]), name, mark)]
    found = []
    if fitting and not reached:
        hosts = ", ".join(host for host, _ in fitting)
        found.append(Finding(PROBLEM, about, f"no route to {hosts} through this interface: it needs a default route"))
    version = min((ip_address(host).version for host, _ in reached), default=4)
    if interface.mtu < BASE + HEADERS[version]:
        text = f"the interface's MTU is {interface.mtu}: at least {BASE + HEADERS[version]} is needed"
        found.append(Finding(PROBLEM, about, text))
    return found, reached


def _probed(name: str, outcomes: Mapping[Target, Outcome]) -> Finding:
    """Whether any address of the server answered through an interface."""
    about = f"path {name or 'default'}"
    answers = [(outcome.rtt, target) for target, outcome in outcomes.items() if outcome.rtt is not None]
    if answers:
        rtt, target = min(answers, key=lambda answer: answer[0])
        return Finding(OK, about, f"{target.server[0]} answers UDP port {target.server[1]} in {rtt * 1000:.1f} ms")
    target, outcome = next(iter(outcomes.items()))
    where = f"{target.server[0]} UDP port {target.server[1]}"
    if outcome.error:
        return Finding(PROBLEM, about, f"{where}: {explain(outcome)}")
    text = f"{where} does not answer: the server is down, or a firewall on the way blocks UDP"
    return Finding(PROBLEM, about, text)


def _filters(names: list[str]) -> Iterator[Finding]:
    """A strict reverse path filter drops the server's packets on all uplinks but the one its route leads to."""
    if len(names) < 2:
        return
    everywhere = _setting("all")
    for name in names:
        if max(everywhere, _setting(name)) == 1:
            text = f"rp_filter is strict: set net.ipv4.conf.{name}.rp_filter = 2, or ManageRoutes = true does it"
            yield Finding(WARNING, f"path {name}", text)


def _setting(name: str) -> int:
    try:
        return int((PROC_SYS / name / "rp_filter").read_text())
    except (OSError, ValueError):
        return 0
