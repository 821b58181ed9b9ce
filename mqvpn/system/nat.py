"""The server's nftables table `inet mqvpn_TUN`: masquerade for the pools, MSS clamp for TCP through the
tunnel.

One transaction of `nft -f -` replaces the whole table, so what a killed predecessor left goes with it. No
rule accepts forwarded packets: an accept here could not overrule a drop in somebody else's table, and those
are not touched. nft is run as a program because libnftables' Python module is a Debian package alone and this
happens twice a day.
"""

import re
import subprocess
from ipaddress import IPv4Network, IPv6Network

from mqvpn.system.errors import OperationFailed

TIMEOUT = 10.0  # seconds; a transaction takes 20 ms

TABLE = """\
add table inet {table}
delete table inet {table}
"""
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
    """Masquerade what the pools' clients send through other interfaces than `tun`; without pools, remove it
    all.

    May be called again. Raises OperationFailed with nft's own words; the old table is then still whole.
    """
    verb = "set up" if pools else "remove"
    _run(ruleset(tun, pools), f"{verb} masquerading for {tun}")


def ruleset(tun: str, pools: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """The transaction for nft: the table is first made to exist, so that deleting it cannot fail."""
    table = "mqvpn_" + re.sub(r"[^A-Za-z0-9_]", "_", tun)
    text = TABLE.format(table=table)
    if pools:
        lines = (f'        {_family(pool)} saddr {pool} oifname != "{tun}" masquerade' for pool in pools)
        text += RULES.format(table=table, tun=tun, masquerades="\n".join(lines))
    return text


def _family(pool: IPv4Network | IPv6Network) -> str:
    return "ip" if pool.version == 4 else "ip6"


def _run(script: str, operation: str) -> None:
    try:
        result = subprocess.run(
            ["nft", "-f", "-"], input=script, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        hint = "install the package nftables"
        raise OperationFailed(operation, "there is no program nft", hint) from error
    except subprocess.TimeoutExpired as error:
        hint = "see whether `nft list ruleset` works"
        raise OperationFailed(operation, f"nft did not end within {TIMEOUT:.0f} s", hint) from error
    if result.returncode:
        reason = (result.stderr.strip() or f"nft ended with status {result.returncode}").splitlines()[0]
        hint = "run it as root or with CAP_NET_ADMIN, on a kernel with nf_tables and NAT"
        raise OperationFailed(operation, reason, hint)
