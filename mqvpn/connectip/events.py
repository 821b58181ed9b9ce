"""What a session tells its owner. Lists are complete: each replaces the one before."""

from dataclasses import dataclass

from mqvpn.wire.address import AddressRange, AssignedAddress, RequestedAddress


@dataclass(frozen=True, slots=True)
class AddressesAssigned:
    """The peer assigned exactly `addresses` to us and refused the requests with the IDs in `refused`."""

    addresses: tuple[AssignedAddress, ...]
    refused: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AddressesRequested:
    """The peer asks for addresses; the owner answers with Session.assign(…, answering=addresses)."""

    addresses: tuple[RequestedAddress, ...]


@dataclass(frozen=True, slots=True)
class RoutesAdvertised:
    """The peer forwards packets to exactly `ranges`."""

    ranges: tuple[AddressRange, ...]


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """A DATAGRAM capsule came; `payload` is Context ID and packet (RFC 9484, section 6)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer closed its side of the stream: the tunnel is over (RFC 9484, section 4.1)."""


Event = AddressesAssigned | AddressesRequested | RoutesAdvertised | DatagramReceived | Closed
