"""The routes that the server advertises, within limits: what of them this client believes, as `Routes = server` asks.

A server cannot lead traffic past the tunnel by withdrawing a route: what was in the tunnel once is refused from then
on. Nor can it take our own networks away from us, or grow our table without end.
"""

import logging
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network, summarize_address_range
from itertools import islice

from mqvpn.config.routes import MAX_PREFIXES
from mqvpn.system.link import Interface
from mqvpn.wire.address import AddressRange, Network

log = logging.getLogger(__name__)

MAX_READ = 4 * MAX_PREFIXES  # of one advertisement: all of its 64 KB could be half a million, and seconds of work
MAX_IGNORED = 64  # that are remembered to be told

LOCAL = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
)


class Advertised:
    """`current`: what the server forwards to, `withdrawn`: what it once did; MAX_PREFIXES together at most. `ignored`:
    what of its newest routes is not followed, and why, no more than MAX_IGNORED."""

    def __init__(self) -> None:
        self.current: tuple[Network, ...] = ()
        self.withdrawn: tuple[Network, ...] = ()
        self.ignored: dict[Network, str] = {}

    def overhear(self, ranges: Iterable[AddressRange]) -> None:
        """The server advertises these, which nobody asked it for."""
        found = islice((prefix for item in ranges for prefix in _prefixes(item)), MAX_IGNORED)
        self.ignored = dict.fromkeys(found, "Routes does not ask the server")

    def update(self, ranges: Iterable[AddressRange], own: Iterable[Network]) -> None:
        """The server advertises exactly these; `own`: prefixes of ours within which it has no say."""
        own = tuple(own)
        prefixes, self.ignored = [], {}
        all_of_them = ((prefix, item.protocol) for item in ranges for prefix in _prefixes(item))
        found = list(islice(all_of_them, MAX_READ))
        for prefix, protocol in found:
            if why := _refusal(prefix, protocol, own):
                self._ignore([prefix], why)
            else:
                prefixes.append(prefix)
        former = set(self.current) | set(self.withdrawn)
        room = MAX_PREFIXES - len(former - set(prefixes))
        kept = [prefix for prefix in prefixes if prefix in former]
        fresh = [prefix for prefix in prefixes if prefix not in former][: max(0, room - len(kept))]
        if len(kept) + len(fresh) < len(prefixes) or len(found) == MAX_READ:
            log.warning("the server advertises more routes than the %d that are followed", MAX_PREFIXES)
        if any(protocol for _, protocol in found):
            log.warning("routes of the server's that are for one protocol only are not followed")
        followed = set(kept) | set(fresh)
        too_many = (prefix for prefix in prefixes if prefix not in followed)
        self._ignore(too_many, f"no more than {MAX_PREFIXES} are followed")
        self.current = tuple(prefix for prefix in prefixes if prefix in followed)
        self.withdrawn = tuple(sorted(former - followed, key=str))

    def _ignore(self, prefixes: Iterable[Network], why: str) -> None:
        room = MAX_IGNORED - len(self.ignored)
        self.ignored |= dict.fromkeys(islice(prefixes, max(0, room)), why)


def own_networks(interfaces: Iterable[Interface], tun: str, servers: Iterable[str]) -> list[Network]:
    """The networks of all interfaces but `tun`, and the server's addresses."""
    networks: list[Network] = [
        address.network for interface in interfaces if interface.name != tun for address in interface.addresses
    ]
    return networks + [ip_network(ip_address(server.partition("%")[0])) for server in servers]


def _prefixes(item: AddressRange) -> Iterator[Network]:
    return summarize_address_range(item.start, item.end)


def _refusal(prefix: Network, protocol: int, own: Iterable[Network]) -> str:
    """Why a route is not followed, or nothing."""
    if protocol:  # a route is for all protocols
        return f"it is for protocol {protocol} only"
    if any(within(prefix, net) for net in own):
        return "it is within a network of this machine, or the server itself"
    return "such addresses are not forwarded" if any(within(prefix, net) for net in LOCAL) else ""


def within(prefix: Network, net: Network) -> bool:
    """Whether it is a part of that network, or all of it."""
    return prefix.version == net.version and prefix.subnet_of(net)  # type: ignore[arg-type]
