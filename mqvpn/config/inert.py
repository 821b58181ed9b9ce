"""Keys of the C mqvpn which this version knows and checks, but which have no effect yet.

Files written for it must load unchanged: a section that is switched on warns once, and its details say nothing.
"""

from collections.abc import Callable
from typing import Any

from mqvpn.config.setting import Effect, Row, read_boolean, read_choice, read_integer, read_network

read_u32 = read_integer(0, 2**32 - 1)


def _detail(section: str, key: str, name: str, read: Callable[[str], Any], limit: int = 1) -> Row:
    return Row(section=section, key=key, name=name, read=read, limit=limit, effect=Effect.DETAIL)


def _warns(section: str, key: str, name: str, read: Callable[[str], Any]) -> Row:
    return Row(section=section, key=key, name=name, read=read, effect=Effect.WARNS)


INERT: tuple[Row, ...] = (
    _warns("Advanced", "RecvRateLimit", "recv_rate_limit", read_integer(0, 10**10)),
    _detail("Advanced", "UdpGso", "udp_gso", read_boolean),
    _detail("Advanced", "UdpGro", "udp_gro", read_boolean),
    _warns("Hybrid", "Enabled", "enabled", read_boolean),
    _detail("Hybrid", "Tcp", "tcp", read_choice("auto", "stream", "raw")),
    _detail("Hybrid", "TcpMaxFlows", "tcp_max_flows", read_u32),
    _detail("Hybrid", "TcpIdleTimeoutSec", "tcp_idle_timeout_sec", read_u32),
    _detail("Hybrid", "TcpConnectTimeoutSec", "tcp_connect_timeout_sec", read_u32),
    _detail("Hybrid", "TcpMaxGlobalFlows", "tcp_max_global_flows", read_u32),
    _detail("Hybrid", "EgressAllow", "egress_allow", read_network(None, 0, 128), 32),
    _detail("Hybrid", "EgressDeny", "egress_deny", read_network(None, 0, 128), 32),
)
