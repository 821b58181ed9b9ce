"""[Reorder] and [ReorderRule]: the UDP flows that may use several paths where the peer has the C mqvpn's way for that.

Each occurrence of [ReorderRule] is a rule of its own, and the first that fits a flow decides. What a rule says wins
over what [Reorder] says, that over the rule's profile, and that over what is built in.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mqvpn.config.setting import Effect, Row, read_boolean, read_choice, read_integer

REPEATED_SECTION = "ReorderRule"
SECTIONS = ("Reorder", REPEATED_SECTION)
MAX_RULES = 16
BUILT_IN = (30, 1024)  # milliseconds, packets
PROFILES: Mapping[str, tuple[int, int] | None] = {
    "cellular_bond": (50, 1024),
    "quic_bulk": (50, 1024),
    "fiber_lte": (50, 2048),
    "low_latency": None,  # leaves flows alone
    "default_udp": None,
}
UDP = ("udp", "17")
read_u32 = read_integer(0, 2**32 - 1)


class ReorderRule(NamedTuple):
    """Flows of one port, and how they are put in order. The engine takes it as it is."""

    port: int  # at either end; 0: any
    wait: float  # seconds, at most, for a packet that is missing
    packets: int  # that a flow may be ahead of it; 0: such flows are left alone


def resolve(general: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> tuple[ReorderRule, ...]:
    """What the values of [Reorder], and of each [ReorderRule], mean together; empty: nothing is put in order."""
    if not general.get("enabled"):
        return ()
    return tuple(_rule(general, rule) for rule in list(rules) or [{}] if rule.get("proto", "udp") in UDP)


def _rule(general: Mapping[str, Any], rule: Mapping[str, Any]) -> ReorderRule:
    port = rule.get("port", 0)
    preset = PROFILES[rule["profile"]] if "profile" in rule else BUILT_IN
    if preset is None:
        return ReorderRule(port, 0.0, 0)
    said = dict(zip(("max_wait_ms", "cap_packets"), preset, strict=True)) | dict(general) | dict(rule)
    return ReorderRule(port, said["max_wait_ms"] / 1000, said["cap_packets"])


def read_enabled(text: str) -> bool:
    """on, off or auto, which is on, as in the C mqvpn."""
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


def _fixed(key: str, name: str, read: Callable[[str], Any]) -> Row:
    """A key whose value this version does not ask for."""
    return Row(section="Reorder", key=key, name=name, read=read, effect=Effect.DETAIL)


WAIT = "milliseconds, at most, that packets of a flow wait for a missing one; they wait as long as the paths differ"
AHEAD = "how many packets a flow may be ahead of a missing one: a power of two, 4096 at most"

REORDER: tuple[Row, ...] = (
    Row(
        section="Reorder", key="Enabled", name="enabled", read=read_enabled, default=False,
        help="let UDP flows use several paths if both ends have this on, as the C mqvpn can, but not both have Spread;"
        " it costs 8 bytes of each packet",
    ),
    Row(section="Reorder", key="MaxWaitMs", name="max_wait_ms", read=read_u32, default=BUILT_IN[0], help=WAIT),
    Row(section="Reorder", key="CapPackets", name="cap_packets", read=read_capacity, default=BUILT_IN[1], help=AHEAD),
    _fixed("MaxBytesPerFlow", "max_bytes_per_flow", read_integer(0, 2**64 - 1)),
    _fixed("ClassifyWindow", "classify_window", read_integer(0, 65535)),
    _fixed("AckDemoteMaxLarge", "ack_demote_max_large", read_integer(0, 65535)),
    _fixed("SmallPacketThreshold", "small_packet_threshold", read_u32),
    _fixed("ResetMarkPackets", "reset_mark_packets", read_u32),
    _fixed("ResetIdleGraceMs", "reset_idle_grace_ms", read_u32),
    _fixed("MaxFlows", "max_flows", read_u32),
    _fixed("GlobalMaxBytes", "global_max_bytes", read_integer(0, 2**64 - 1)),
    _fixed("IngressIdleSec", "ingress_idle_sec", read_u32),
    _fixed("EgressIdleSec", "egress_idle_sec", read_u32),
    Row(
        section=REPEATED_SECTION, key="Proto", name="proto", read=read_protocol, default="udp", metavar="udp",
        help="which protocol the rule is for; rules for others than udp (17) concern no flow",
    ),
    Row(
        section=REPEATED_SECTION, key="Port", name="port", read=read_integer(0, 65535), default=0,
        help="the source or the destination port of the rule's flows; 0: any",
    ),
    Row(
        section=REPEATED_SECTION, key="Profile", name="profile", read=read_choice(*PROFILES),
        metavar="|".join(PROFILES),
        help="where MaxWaitMs and CapPackets come from if nothing else says them: 50 and 1024 for cellular_bond and "
        "quic_bulk, 50 and 2048 for fiber_lte; flows of low_latency and default_udp are not numbered, keep to one path "
        "and wait for nothing",
    ),
    Row(section=REPEATED_SECTION, key="MaxWaitMs", name="max_wait_ms", read=read_integer(1, 2**32 - 1), help=WAIT),
    Row(section=REPEATED_SECTION, key="CapPackets", name="cap_packets", read=read_capacity, help=AHEAD),
)
