"""The kill switch: an nftables table `inet mqvpn_block_NAME` that lets packets leave by the tunnel alone.

It stands from before the first handshake until the user stops the client, whoever dies meanwhile. While the client
lives it owns the table, where kernel and nft have that (keeper.py); elsewhere it puts back what others take out. A
start takes over what a predecessor left, in one transaction. Let through are: the tunnel itself (packets
with our mark, which only a process with CAP_NET_ADMIN can set), lo, what a link needs to stay up (DHCP, neighbour and
router discovery, multicast listener reports), and, if the user wants them, local networks and what he excluded from the
tunnel. Everything else is refused at once, own and forwarded, IPv4 and IPv6. Packets to our inner addresses that come
in by another interface than the tunnel are dropped (CVE-2019-14899).

The lockdown is the same for while no client has run since the boot. It lets pass what the blocks of all clients would,
and the first of these to stand replaces it, in the same transaction.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from mqvpn.system import nft
from mqvpn.system.change import change
from mqvpn.system.errors import OperationFailed

KIND = "mqvpn_block"
LOCKDOWN = "lockdown"  # in the place of a client's name
NEXT = "/next"  # behind the name of a table, which has a `/` before hexadecimal digits alone (keeper.py)
LAN = {
    "ip": "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 224.0.0.0/24, 239.0.0.0/8, 255.255.255.255",
    "ip6": "fe80::/10, fc00::/7, ff01::/16, ff02::/16, ff03::/16, ff04::/16, ff05::/16",
}

# DHCP (RFC 2131; RFC 9915, section 7.2), neighbour discovery (RFC 4861: hop limit 255) and MLD (RFC 3810, section 5).
LINK = """\
        udp sport 68 udp dport 67 accept
        ip6 daddr { fe80::/10, ff02::1:2 } udp sport 546 udp dport 547 accept
        icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
        icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } ip6 hoplimit 1 accept
"""
RULES = """\
table inet {table} {{
    {flags}
    chain spoofed {{
        type filter hook prerouting priority raw; policy accept;
{spoofed}    }}
    chain output {{
        type filter hook output priority filter; policy drop;
        oifname {{ "lo", {tuns} }} accept
        meta mark {{ {marks} }} accept
{link}{excluded}{lan}        reject with icmpx admin-prohibited
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        oifname {{ {tuns} }} accept
        iifname {{ {tuns} }} accept
{excluded}{back}{lan}        reject with icmpx admin-prohibited
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What may pass: packets into `tun`, those that carry `mark`, to what is `excluded` from the tunnel, and to local
    networks if `lan`. `addresses` are ours inside the tunnel; `name` is the client's."""

    name: str
    tun: str
    mark: int
    lan: bool = False
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    excluded: tuple[IPv4Network | IPv6Network, ...] = ()


def apply(block: Block) -> None:
    """Block all else; may be called again at any time. Raises OperationFailed: the block before still stands."""
    with change("block"):
        nft.transact(ruleset(block), wish(block))


def lock_down(blocks: Sequence[Block]) -> None:
    """Block what these would, until one of them stands. Raises OperationFailed."""
    script = nft.without(table_of(LOCKDOWN)) + table(LOCKDOWN, blocks)
    nft.transact(script, "block traffic until a client does")


def lift(name: str) -> None:
    """The client of this name blocks nothing any more; may be called again. Raises OperationFailed."""
    with change("block-lifted"):
        for own in (table_of(name) + NEXT, table_of(name)):
            nft.remove(own, f"lift the block of {name}")


def lift_all() -> list[str]:
    """No client blocks anything any more; the tables that were there. Raises OperationFailed, when all was tried."""
    tables, failed = all_tables(), None
    for table in tables:
        try:
            nft.remove(table, f"lift the block {table}")
        except OperationFailed as error:
            failed = error
    if failed is not None:
        raise failed
    return tables


def stands(name: str) -> bool:
    """Whether the client of this name, alive or dead, blocks traffic. Raises OperationFailed."""
    return table_of(name) in nft.tables()


def all_tables() -> list[str]:
    """The tables of all clients that block traffic. Raises OperationFailed."""
    return [table for table in nft.tables() if table.startswith(f"{KIND}_")]


def table_of(name: str) -> str:
    """The table of the client of this name."""
    return nft.table_name(KIND, name)


def ruleset(block: Block) -> str:
    """The transaction for nft."""
    return nft.without(table_of(LOCKDOWN)) + nft.without(table_of(block.name)) + table(block.name, [block])


def wish(block: Block) -> str:
    return f"block traffic outside {block.tun}"


def table(name: str, blocks: Sequence[Block], flags: str = "", suffix: str = "") -> str:
    """The table of that client, with what all the blocks let pass, but the tunnels of each."""
    lan = "".join(_rules(_allow_lan())) if all(block.lan for block in blocks) else ""
    spoofed = "".join(_rules(rule for block in blocks for rule in _drop_spoofed(block)))
    networks = _common([block.excluded for block in blocks])
    excluded, back = ("".join(_rules(_allow(networks, way))) for way in ("daddr", "saddr"))
    rules = {"link": LINK, "lan": lan, "spoofed": spoofed, "excluded": excluded, "back": back}
    tuns = ", ".join(f'"{tun}"' for tun in sorted({block.tun for block in blocks}))
    marks = ", ".join(f"{mark:#x}" for mark in sorted({block.mark for block in blocks}))
    return RULES.format(table=table_of(name) + suffix, flags=flags, tuns=tuns, marks=marks, **rules)


def _common(lists: Sequence[Sequence[IPv4Network | IPv6Network]]) -> list[IPv4Network | IPv6Network]:
    """What is in each of the lists, whole or in part."""
    common = list(lists[0])
    for other in lists[1:]:
        both = [(one, two) for one in common for two in other if one.version == two.version]
        common = [max(pair, key=lambda net: net.prefixlen) for pair in both if _overlap(*pair)]
    return common


def _overlap(one: IPv4Network | IPv6Network, two: IPv4Network | IPv6Network) -> bool:
    return one.overlaps(two)


def _allow_lan() -> Iterator[str]:
    """A router at home answers DNS by asking the world, so names are not for it."""
    yield "meta l4proto { tcp, udp } th dport { 53, 853 } reject with icmpx admin-prohibited"
    for family, nets in LAN.items():
        yield f"{family} daddr {{ {nets} }} accept"


def _allow(networks: Iterable[IPv4Network | IPv6Network], way: str) -> Iterator[str]:
    """nft takes no set whose members overlap."""
    version4 = [net for net in networks if isinstance(net, IPv4Network)]
    version6 = [net for net in networks if isinstance(net, IPv6Network)]
    for family, nets in (("ip", list(collapse_addresses(version4))), ("ip6", list(collapse_addresses(version6)))):
        if nets:
            yield f"{family} {way} {{ {', '.join(map(str, nets))} }} accept"


def _drop_spoofed(block: Block) -> Iterator[str]:
    for address in block.addresses:
        family = "ip" if address.version == 4 else "ip6"
        yield f'iifname != {{ "lo", "{block.tun}" }} {family} daddr {address} drop'


def _rules(rules: Iterable[str]) -> Iterator[str]:
    return (f"        {rule}\n" for rule in rules)
