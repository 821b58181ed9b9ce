"""What a client wants of its tunnel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mqvpn.dataplane.engine import ReorderRule
from mqvpn.tunnel.paths import Role
from mqvpn.wire.address import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What a client's tunnel is to be. `keep_alive`: seconds between PINGs on a quiet path; `spread`: let one
    flow use several paths, if the server puts it back in order; `reorder`: else let these UDP flows, if the server has
    the C mqvpn's way for that; `reinjection`: send again on another path what was under way on one that fails, if the
    server drops what comes twice; `roles`: of interfaces, Role() of the others; `instance`: which client this is, see
    connectip.extension; `last_addresses`: those to ask for."""

    host: str
    port: int
    key: bytes = field(default=b"", repr=False)
    scheduler: str = "wlb"
    congestion: str = "bbr"
    keep_alive: float = 15.0
    max_path_id: int | None = 8
    spread: bool = True
    reorder: tuple[ReorderRule, ...] = ()
    reinjection: bool = True
    roles: Mapping[str, Role] = field(default_factory=dict)
    instance: str = field(default="", repr=False)
    last_addresses: tuple[Network, ...] = ()
