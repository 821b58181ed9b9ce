"""What a tunnel tells its daemon, as values."""

from dataclasses import dataclass
from enum import Enum

from mqvpn.wire.address import AddressRange, Network


class Cause(Enum):
    """Why a tunnel is no more, as far as it matters for whether to try again."""

    LOST = "no answer, or the connection broke"
    UNTRUSTED = "the server's certificate is not trusted"
    REFUSED = "the server does not accept our key"
    FORGOTTEN = "the server was started anew and does not know the connection"
    REPLACED = "another client that names the same instance took the tunnel over"


@dataclass(frozen=True, slots=True)
class TunnelUp:
    """The client's tunnel carries packets. `mtu`: bytes of the largest inner packet every path takes."""

    addresses: tuple[Network, ...]
    mtu: int
    interface: str


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """The server assigned exactly these from now on."""

    addresses: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class RoutesAdvertised:
    """The server forwards to exactly these from now on (RFC 9484, section 4.7.3)."""

    ranges: tuple[AddressRange, ...]


@dataclass(frozen=True, slots=True)
class MtuChanged:
    """The largest inner packet that every path takes now, bytes."""

    mtu: int


@dataclass(frozen=True, slots=True)
class PathUp:
    """Both ends validated the path; packets may use it. `interface`: "" is the kernel's choice."""

    path_id: int
    interface: str


@dataclass(frozen=True, slots=True)
class PathDown:
    """The path is abandoned for good; `reason` is for the log."""

    path_id: int
    interface: str
    reason: str


@dataclass(frozen=True, slots=True)
class PathSilent:
    """Nothing comes back on the path: packets avoid it until it answers."""

    path_id: int
    interface: str


@dataclass(frozen=True, slots=True)
class PathAnswers:
    """A silent path answers again."""

    path_id: int
    interface: str


@dataclass(frozen=True, slots=True)
class ServerBack:
    """There is no tunnel, and a server that could not be reached at this address now can be: try again."""

    interface: str
    remote: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Closed:
    """The client's tunnel is over or did not come up."""

    reason: str
    cause: Cause = Cause.LOST


@dataclass(frozen=True, slots=True)
class ClientJoined:
    """Server: a client's tunnel is up. `user` is "" for holders of the shared key."""

    number: int
    user: str
    addresses: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """Server: a client's tunnel is over; its addresses are free."""

    number: int
    user: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """Server: a request was answered with `status`, or its stream aborted (status 0)."""

    number: int
    status: int
    reason: str
