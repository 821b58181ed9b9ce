"""What a client's settings mean for its tunnel: options, QUIC configuration, the roles of its paths."""

from typing import Any

from mqvpn.config.client import ClientSettings
from mqvpn.config.values import HostPort, PathSetting, is_pattern
from mqvpn.daemon.identity import Identity
from mqvpn.daemon.interfaces import means
from mqvpn.multipath.configuration import quic_configuration
from mqvpn.tunnel.options import ClientOptions
from mqvpn.tunnel.paths import Role

IDLE_TIMEOUT = 60.0  # seconds without a packet of the server's
KEEP_ALIVE = 15.0  # seconds


def tunnel_options(settings: ClientSettings, server: HostPort, identity: Identity) -> ClientOptions:
    """What the tunnel to `server` is to be, for the client that `identity` names."""
    key = settings.auth_key
    return ClientOptions(
        host=server.host,
        port=server.port,
        key=key.reveal().encode() if key is not None else b"",
        scheduler=settings.scheduler,
        congestion=settings.cc,
        spread=settings.spread,
        reorder=settings.reorder,
        reinjection=settings.reinjection,
        keep_alive=KEEP_ALIVE,
        max_path_id=settings.init_max_path_id or 8,
        instance=identity.instance,
        last_addresses=identity.last_addresses(str(server)),
    )


def configuration(settings: ClientSettings, server: HostPort, ca: Any) -> Any:
    """The QUIC configuration; `ca` as load_ca returns it. The name to verify is ServerName, else the server's."""
    return quic_configuration(
        is_client=True,
        idle_timeout=IDLE_TIMEOUT,
        server_name=settings.tls_server_name or server.host,
        verify=not settings.insecure,
        ca=ca,
        pins=settings.pins,
    )


def setting_of(settings: ClientSettings, interface: str) -> PathSetting:
    """What is said of an interface: its own `Path`, else the first pattern that means it."""
    for path in sorted(settings.paths, key=lambda path: is_pattern(path.interface)):
        if means(path.interface, interface):
            return path
    return PathSetting(interface)


def role_of(path: PathSetting, *, spent: bool) -> Role:
    """The part of an interface; `spent`: its cap is used up."""
    return Role(spent or path.role == "backup", path.weight)
