"""Keys of the C mqvpn which this version knows and checks, but which have no effect yet.

Files written for it must load unchanged: a section that is switched on warns once, and its details say nothing.
"""

from collections.abc import Callable
from typing import Any

from mqvpn.config.setting import Effect, Row, read_boolean, read_choice, read_integer, read_network

REPEATED_SECTION = "ReorderRule"  # each occurrence is a rule of its own
PROFILES = ("cellular_bond", "quic_bulk", "fiber_lte", "low_latency", "default_udp")
read_u32 = read_integer(0, 2**32 - 1)
read_u64 = read_integer(0, 2**64 - 1)


def read_reorder_enabled(text: str) -> bool:
    """on, off or auto, which the C mqvpn takes for on."""
    return text.lower() == "auto" or read_boolean(text)


def read_capacity(text: str) -> int:
    """A power of two."""
    value = read_u32(text)
    if value.bit_count() != 1:
        raise ValueError("write a power of two, such as 1024")
    return value


def read_protocol(text: str) -> str:
    """udp, or a protocol number."""
    return text.lower() if text.lower() == "udp" else str(read_integer(0, 255)(text))


def _detail(section: str, key: str, name: str, read: Callable[[str], Any], limit: int = 1) -> Row:
    return Row(section=section, key=key, name=name, read=read, limit=limit, effect=Effect.DETAIL)


def _warns(section: str, key: str, name: str, read: Callable[[str], Any]) -> Row:
    return Row(section=section, key=key, name=name, read=read, effect=Effect.WARNS)


INERT: tuple[Row, ...] = (
    _warns("Advanced", "RecvRateLimit", "recv_rate_limit", read_integer(0, 10**10)),
    _detail("Advanced", "UdpGso", "udp_gso", read_boolean),
    _detail("Advanced", "UdpGro", "udp_gro", read_boolean),
    _warns("Reorder", "Enabled", "enabled", read_reorder_enabled),
    _detail("Reorder", "MaxWaitMs", "max_wait_ms", read_u32),
    _detail("Reorder", "CapPackets", "cap_packets", read_capacity),
    _detail("Reorder", "MaxBytesPerFlow", "max_bytes_per_flow", read_u64),
    _detail("Reorder", "ClassifyWindow", "classify_window", read_integer(0, 65535)),
    _detail("Reorder", "AckDemoteMaxLarge", "ack_demote_max_large", read_integer(0, 65535)),
    _detail("Reorder", "SmallPacketThreshold", "small_packet_threshold", read_u32),
    _detail("Reorder", "ResetMarkPackets", "reset_mark_packets", read_u32),
    _detail("Reorder", "ResetIdleGraceMs", "reset_idle_grace_ms", read_u32),
    _detail("Reorder", "MaxFlows", "max_flows", read_u32),
    _detail("Reorder", "GlobalMaxBytes", "global_max_bytes", read_u64),
    _detail("Reorder", "IngressIdleSec", "ingress_idle_sec", read_u32),
    _detail("Reorder", "EgressIdleSec", "egress_idle_sec", read_u32),
    _detail("ReorderRule", "Proto", "proto", read_protocol),
    _detail("ReorderRule", "Port", "port", read_integer(0, 65535)),
    _detail("ReorderRule", "Profile", "profile", read_choice(*PROFILES)),
    _detail("ReorderRule", "MaxWaitMs", "max_wait_ms", read_integer(1, 2**32 - 1)),
    _detail("ReorderRule", "CapPackets", "cap_packets", read_capacity),
    _warns("Hybrid", "Enabled", "enabled", read_boolean),
    _detail("Hybrid", "Tcp", "tcp", read_choice("auto", "stream", "raw")),
    _detail("Hybrid", "TcpMaxFlows", "tcp_max_flows", read_u32),
    _detail("Hybrid", "TcpIdleTimeoutSec", "tcp_idle_timeout_sec", read_u32),
    _detail("Hybrid", "TcpConnectTimeoutSec", "tcp_connect_timeout_sec", read_u32),
    _detail("Hybrid", "TcpMaxGlobalFlows", "tcp_max_global_flows", read_u32),
    _detail("Hybrid", "EgressAllow", "egress_allow", read_network(None, 0, 128), 32),
    _detail("Hybrid", "EgressDeny", "egress_deny", read_network(None, 0, 128), 32),
)
