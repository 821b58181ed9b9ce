"""What a MultipathConnection tells beside aioquic's events; all come out of next_event() in order."""

from dataclasses import dataclass

from mqvpn.multipath.seam import QuicEvent


@dataclass(frozen=True)
class PathEstablished(QuicEvent):
    """The path is validated and may carry IP packets."""

    path_id: int


@dataclass(frozen=True)
class PathAbandoned(QuicEvent):
    """PATH_ABANDON was sent or received; the path ID is never used again."""

    path_id: int
    error_code: int
    by_peer: bool


@dataclass(frozen=True)
class PathSuspect(QuicEvent):
    """Nothing was acknowledged there for a probe timeout: packets avoid the path until it answers."""

    path_id: int


@dataclass(frozen=True)
class PathAlive(QuicEvent):
    """A suspect path answered."""

    path_id: int


@dataclass(frozen=True)
class NewToken(QuicEvent):
    """The server gave a token for the next handshake with it (RFC 9000, section 8.1.3)."""

    token: bytes


@dataclass(frozen=True)
class MtuChanged(QuicEvent):
    """Any usable path takes IP packets of `mtu` bytes now; 0: there is no usable path."""

    mtu: int
