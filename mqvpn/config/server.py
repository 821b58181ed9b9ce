"""ServerSettings: what mqvpn-server is told."""

# ruff: noqa: RUF009 -- setting() makes a dataclass field

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mqvpn.config.credential import read_path_or_credential
from mqvpn.config.routes import MAX_PREFIXES, Network, read_advertised
from mqvpn.config.setting import read_boolean, read_integer, read_network, setting
from mqvpn.config.tunnel import TunnelSettings
from mqvpn.config.values import HostPort, User


def read_control(text: str) -> HostPort:
    """An address literal of this machine, or localhost, and a TCP port."""
    return read_listen(text.replace("localhost", "127.0.0.1"))


def read_listen(text: str) -> HostPort:
    """An address literal of this machine and a port; [::] is IPv4 and IPv6."""
    listen = HostPort.read(text)
    if listen.address is None:
        raise ValueError("an address of this machine is expected, such as 0.0.0.0:443 or [::]:443")
    return listen


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(TunnelSettings):
    """A server: at least one of `auth_key` and `users` is set."""

    listen: HostPort = setting(
        "[Interface] Listen", read_listen, default=HostPort("0.0.0.0", 443),  # noqa: S104 -- as the C mqvpn
        flag="--listen", metavar="BIND:PORT", help="UDP address to serve; [::]:443 takes IPv4 and IPv6",
    )
    subnet: IPv4Network = setting(
        "[Interface] Subnet", read_network(4, 16, 30), default=IPv4Network("10.0.0.0/24"),
        flag="--subnet", metavar="CIDR", help="the clients' IPv4 addresses, /16 to /30, and the server's own",
    )
    subnet6: IPv6Network | None = setting(
        "[Interface] Subnet6", read_network(6, 64, 126), default=None,
        flag="--subnet6", metavar="CIDR", help="clients' IPv6 addresses, /64 to /126",
    )
    advertise: tuple[Network | str, ...] = setting(
        "[Interface] Advertise", read_advertised, default=(), limit=MAX_PREFIXES,
        flag="--advertise", metavar="default|PREFIX",
        help="what this server tells its clients that they reach through it, for those with Routes = server: all "
        "(default) or these prefixes; no firewall, clients may send elsewhere, too; may be repeated",
    )
    cert_file: str = setting(
        "[TLS] Cert", read_path_or_credential, default="server.crt",
        flag="--cert", metavar="FILE", help="certificate chain, PEM",
    )
    key_file: str = setting(
        "[TLS] Key", read_path_or_credential, default="server.key",
        flag="--key", metavar="FILE", help="private key of the certificate, PEM",
    )
    users: tuple[User, ...] = setting(
        "[Auth] User", User.read, default=(), limit=65536, secret=True,
        flag="--user", metavar="NAME:file:/PATH", help="a user with a key of its own; may be repeated",
        note="NAME:KEY or NAME:file:/PATH, a user with a key of its own; may be repeated",
    )
    max_clients: int = setting(
        "[Auth] MaxClients", read_integer(1, 65536), default=64,
        flag="--max-clients", metavar="N", help="how many clients may be connected at once",
    )
    control_listen: HostPort | None = setting(
        "[Control] Listen", read_control, default=None,
        help="TCP address of the C mqvpn's control interface, read-only here",
    )
    control_remote: bool = setting(
        "[Control] Remote", read_boolean, default=False,
        help="serve it on an address that other machines reach, too; it asks nobody who he is",
    )

    @property
    def name(self) -> str:
        """What the operator calls it."""
        return "server"
