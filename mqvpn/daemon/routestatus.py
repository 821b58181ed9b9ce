"""The routes in force, for those who ask: where which destinations go, and why."""

from collections.abc import Iterator
from itertools import islice

from mqvpn.config.client import ClientSettings
from mqvpn.config.routes import DEFAULT, SERVER
from mqvpn.daemon.advertised import Advertised, within
from mqvpn.system.routing import DEFAULT_ROUTES, TunnelRoutes
from mqvpn.wire.address import Network

MAX_TOLD = 64  # routes of a kind

TUNNEL, PAST, NOWHERE, IGNORED = "tunnel", "past", "nowhere", "ignored"  # as mqvpn.Control.varlink says


def route_figures(settings: ClientSettings, wanted: TunnelRoutes, advertised: Advertised) -> list[dict[str, str]]:
    """Each with its prefix, where it goes and why; what the server advertises and is ignored comes last."""
    kinds: tuple[Iterator[tuple[object, str, str]], ...] = (
        ((route, TUNNEL, _asked_by(route, settings, advertised)) for route in wanted.destinations),
        ((route, NOWHERE, _why_nowhere(route, settings, advertised)) for route in wanted.refused),
        ((route, PAST, "Exclude") for route in wanted.excluded),
        ((route, IGNORED, f"advertised, but {why}") for route, why in _ignored(settings, wanted, advertised)),
    )
    rows = (row for kind in kinds for row in islice(kind, MAX_TOLD))
    return [{"prefix": str(prefix), "goes": goes, "why": why} for prefix, goes, why in rows]


def _asked_by(route: Network, settings: ClientSettings, advertised: Advertised) -> str:
    if route in settings.routes:
        return f"Routes = {route}"
    if route in DEFAULT_ROUTES and DEFAULT in (settings.routes or (DEFAULT,)):
        return "Routes = default"
    return "advertised by the server" if route in advertised.current else "Routes"


def _why_nowhere(route: Network, settings: ClientSettings, advertised: Advertised) -> str:
    if route.version == 6 and settings.ipv6 == "block":
        return "IPv6 = block"
    if route in advertised.withdrawn:
        return "no longer advertised by the server"
    return f"the tunnel carries no IPv{route.version}"


def _ignored(settings: ClientSettings, wanted: TunnelRoutes, advertised: Advertised) -> Iterator[tuple[Network, str]]:
    """What is not asked for, but is in the tunnel anyway, is not worth a word."""
    for route, why in advertised.ignored.items():
        if SERVER in settings.routes or not any(within(route, other) for other in wanted.destinations):
            yield route, why
