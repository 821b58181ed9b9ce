"""Which interfaces the `Path` lines mean: names, patterns such as eth*, or auto for every usable uplink."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from mqvpn.config.values import AUTO, is_pattern
from mqvpn.system.link import Interface

# By these the traffic of this or another tunnel, or of nobody else, would go.
NOT_UPLINKS = frozenset({"loopback", "tun", "wireguard", "ipip", "sit", "ip6tnl", "gre", "gretap", "vxlan", "geneve"})
MOST = 8  # interfaces that patterns may add up to: so many paths does a server allow


def means(wanted: str, name: str) -> bool:
    """Whether a name, a pattern or auto can mean this interface."""
    return wanted == AUTO or fnmatchcase(name, wanted) if is_pattern(wanted) else wanted == name


def chosen(
    wanted: Iterable[str], present: Mapping[str, Interface], known: Iterable[str], usable: Callable[[Interface], bool]
) -> list[str]:
    """The names, and behind each pattern the present interfaces that it means. `known`: those that are in use already
    and stay; auto adds what is `usable`."""
    names = [word for word in wanted if not is_pattern(word)]
    stay = frozenset(known)
    for word in filter(is_pattern, wanted):
        for name, interface in sorted(present.items()):
            if name in names or interface.kind in NOT_UPLINKS or not means(word, name):
                continue
            if (word != AUTO or name in stay or usable(interface)) and len(names) < MOST:
                names.append(name)
    return names
