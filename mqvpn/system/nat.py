"""The server's nftables table `inet mqvpn_TUN`: masquerade for the pools, MSS clamp for TCP through the
tunnel.

One transaction replaces the whole table, so what a killed predecessor left goes with it. No rule accepts forwarded
packets: an accept here could not overrule a drop in somebody else's table, and those are not touched.
"""

from ipaddress import IPv4Network, IPv6Network

from mqvpn.system import nft
from mqvpn.system.change import change

RULES = """\
table inet {table} {{
    chain forward {{
        type filter hook forward priority mangle; policy accept;
        iifname "{tun}" tcp flags syn tcp option maxseg size set rt mtu
        oifname "{tun}" tcp flags syn tcp option maxseg size set rt mtu
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
{masquerades}
    }}
}}
"""


def apply(tun: str, pools: tuple[IPv4Network | IPv6Network, ...]) -> None:
    """Masquerade what the pools' clients send through other interfaces than `tun`.

    May be called again. Raises OperationFailed with nft's own words; the old table is then still whole.
    """
    with change("nat"):
        nft.transact(ruleset(tun, pools), f"set up masquerading for {tun}")


def remove(table: str) -> None:
    """Remove a table that table_of() named; one that is gone already is no error. Raises OperationFailed."""
    with change("nat-gone"):
        nft.transact(nft.without(table), f"remove masquerading in {table}")


def table_of(tun: str) -> str:
    """The name of the table for a TUN."""
    return nft.table_name("mqvpn", tun)


def ruleset(tun: str, pools: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """The transaction for nft."""
    table = table_of(tun)
    lines = (f'        {_family(pool)} saddr {pool} oifname != "{tun}" masquerade' for pool in pools)
    return nft.without(table) + RULES.format(table=table, tun=tun, masquerades="\n".join(lines))


def _family(pool: IPv4Network | IPv6Network) -> str:
    return "ip" if pool.version == 4 else "ip6"

