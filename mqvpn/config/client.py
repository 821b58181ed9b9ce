"""ClientSettings: what mqvpn-client is told."""

# ruff: noqa: RUF009 -- setting() makes a dataclass field

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from mqvpn.config.routes import KERNELS_TABLES, MAX_PREFIXES, Network, read_number, read_prefix, read_route
from mqvpn.config.setting import plain_address, read_boolean, read_choice, read_integer, read_path, setting
from mqvpn.config.tunnel import TunnelSettings
from mqvpn.config.values import HostPort, PathSetting, domain_name, host_name, read_pin


def read_dns(text: str) -> IPv4Address | IPv6Address:
    """The address of a name server."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError("the address of a name server is expected, such as 9.9.9.9 or 2620:fe::fe") from None
    if not plain_address(address):
        raise ValueError("write the address without a zone (%...)")
    return address


def read_reconnect(text: str) -> bool | str:
    """false, true or always."""
    if text.lower() == "always":
        return "always"
    try:
        return read_boolean(text)
    except ValueError:
        raise ValueError("write true, false or always") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(TunnelSettings):
    """A client. Without `paths` the kernel's routes choose the interface."""

    server_addr: HostPort = setting(
        "[Server] Address", HostPort.read, limit=8,
        flag="--server", metavar="HOST:PORT",
        help="the server; the port is 443 if left out. May be repeated: the first is preferred, the next asked beside "
        "it when it has not answered for 1.5 s",
    )
    tls_server_name: str = setting(
        "[Server] ServerName", host_name, default="",
        flag="--tls-server-name", metavar="NAME", help="name the certificate must carry, if not HOST",
    )
    pins: tuple[str, ...] = setting(
        "[Server] Pin", read_pin, default=(), limit=8,
        flag="--pin", metavar="sha256//BASE64",
        help="public key of the server's certificate, which then needs no CA; may be repeated",
    )
    ca_file: str = setting(
        "[Server] CA", read_path, default="",
        flag="--ca", metavar="FILE", help="trust these CA certificates, PEM, and no others",
    )
    insecure: bool = setting(
        "[Server] Insecure", read_boolean, default=False,
        flag="--insecure", flag_value="true", help="do not verify the server's certificate; for tests only",
    )
    paths: tuple[PathSetting, ...] = setting(
        "[Multipath] Path", PathSetting.read, default=(), limit=8,
        flag="--path", metavar="'IFACE[;role=backup][;weight=N][;cap=5G/month]'",
        help="an interface to use, or several by a pattern such as eth*, or auto for all that lead to the server; may "
        "be repeated. A backup carries packets when no primary works; weight scales its share of the flows that we "
        "send by wlb, of which those that need more than a path take all. When a cap (per day, week or month) is used "
        "up, a primary is a backup until the period ends, and a backup is not used",
    )
    dns: tuple[IPv4Address | IPv6Address, ...] = setting(
        "[Interface] DNS", read_dns, default=(), limit=4,
        flag="--dns", metavar="ADDRESS",
        help="name server to use through the tunnel; may be repeated, up to 4",
    )
    dns_mode: str = setting(
        "[Interface] DNSMode", read_choice("auto", "resolved", "resolvconf", "file", "none"), default="auto",
        flag="--dns-mode", metavar="auto|resolved|resolvconf|file|none",
        help="who is told of DNS: systemd-resolved, resolvconf, /etc/resolv.conf, or nobody",
    )
    domains: tuple[str, ...] = setting(
        "[Interface] Domains", domain_name, default=(), limit=32,
        flag="--domain", metavar="[~]DOMAIN",
        help="search domain, or with ~ one whose names only these name servers are asked for; may be repeated",
    )
    dns_over_tls: str = setting(
        "[Interface] DNSOverTLS", read_choice("no", "opportunistic", "yes"), default="",
        flag="--dns-over-tls", metavar="no|opportunistic|yes",
        help="ask the name servers over TLS (systemd-resolved only; its own setting if left out)",
    )
    manage_routes: bool = setting(
        "[Interface] ManageRoutes", read_boolean, default=True,
        flag="--no-manage-routes", flag_value="false", help="leave the machine's routes alone",
    )
    routes: tuple[Network | str, ...] = setting(
        "[Interface] Routes", read_route, default=(), limit=MAX_PREFIXES,
        flag="--route", metavar="default|none|server|PREFIX",
        help="what goes into the tunnel: everything (default), nothing, what the server advertises, or these prefixes; "
        "may be repeated",
    )
    exclude: tuple[Network, ...] = setting(
        "[Interface] Exclude", read_prefix, default=(), limit=MAX_PREFIXES,
        flag="--exclude", metavar="PREFIX",
        help="destinations that go past the tunnel, also with the kill switch; of this and Routes the longer prefix "
        "counts; may be repeated",
    )
    ipv6: str = setting(
        "[Interface] IPv6", read_choice("auto", "block", "allow"), default="auto",
        flag="--ipv6", metavar="auto|block|allow",
        help="auto: what Routes leads into the tunnel is refused when the tunnel carries no IPv6; allow: it then goes "
        "past the tunnel; block: no IPv6 at all but to local networks",
    )
    table: int = setting(
        "[Interface] Table", read_number(0, 2**32 - 1, taken=KERNELS_TABLES), default=0,
        help="the number of the routing table to use; 0: one of our own",
    )
    metric: int = setting(
        "[Interface] Metric", read_integer(2, 2**31 - 1), default=1024,
        help="the metric of the routes into the tunnel, for tables that hold routes of others too",
    )
    fwmark: int = setting(
        "[Interface] FwMark", read_number(1, 2**32 - 1), default=0x6D71,
        help="the mark of the tunnel's own packets, by which rules and the kill switch tell them from others",
    )
    kill_switch: bool = setting(
        "[Interface] KillSwitch", read_boolean, default=False,
        flag="--kill-switch", flag_value="true",
        help="let packets leave by the tunnel alone, from the start to the user's stop, whatever fails meanwhile",
    )
    allow_lan: bool = setting(
        "[Interface] AllowLan", read_boolean, default=False,
        flag="--allow-lan", flag_value="true",
        help="with the kill switch, let packets to private and link-local networks leave too, but no DNS",
    )
    start_wait: str = setting(
        "[Interface] StartWait", read_choice("up", "started"), default="up",
        help="when systemd takes the client for started: up, with the tunnel; started, at once, without a network",
    )
    reconnect: bool | str = setting(
        "[Interface] Reconnect", read_reconnect, default=True,
        flag="--no-reconnect", flag_value="false", help="exit with status 69 when the server is out of reach",
        note="false: exit with status 69 when the server is out of reach; true: try again, but exit with status 77 "
        "when every server refuses our key; always: try again even then",
    )
    reconnect_interval: int = setting(
        "[Interface] ReconnectInterval", read_integer(1, 3600), default=5,
        help="seconds before the first new attempt",
    )

    more_servers: tuple[HostPort, ...] = ()  # the others, of which the first is preferred

    @property
    def servers(self) -> tuple[HostPort, ...]:
        """All of them, in the order of preference."""
        return (self.server_addr, *self.more_servers)

    @property
    def name(self) -> str:
        """What the operator calls this client: NAME of client-NAME.conf, else the TUN interface."""
        return self.instance or self.tun_name
