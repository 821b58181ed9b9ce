"""One CONNECT-IP session after its successful response: capsules in, events out (RFC 9484, section 4.7).

Both ends run the same class, for either may assign addresses and advertise routes. Every list is complete and
replaces the former one. `lenient` is for the C mqvpn, which sends one capsule for each IP version.
"""

from collections.abc import Iterable
from itertools import chain

from mqvpn.connectip.error import StreamError, malformed
from mqvpn.connectip.events import (
    AddressesAssigned,
    AddressesRequested,
    Closed,
    DatagramReceived,
    Event,
    RoutesAdvertised,
)
from mqvpn.wire.address import (
    NOTHING,
    AddressAssign,
    AddressRange,
    AddressRequest,
    AssignedAddress,
    Network,
    RequestedAddress,
    RouteAdvertisement,
)
from mqvpn.wire.buffer import DecodeError, Writer
from mqvpn.wire.capsule import Capsule, CapsuleReader, DatagramCapsule, write_capsule
from mqvpn.wire.http3 import H3ErrorCode

MAX_REQUESTS = 1024  # Request IDs of the peer's that are remembered; more in one session are abuse


class Session:
    """The capsule side of one tunnel.

    receive() takes the peer's bytes; assign(), request_addresses() and advertise() return bytes to send.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._reader = CapsuleReader(lenient=lenient)
        self._lenient = lenient
        self._closed = False
        self._next_request_id = 1
        self._seen_requests: set[int] = set()
        self._assigned: tuple[AssignedAddress, ...] = ()
        self._routes: tuple[AddressRange, ...] = ()

    @property
    def assigned(self) -> tuple[AssignedAddress, ...]:
        """What the peer assigned to us."""
        return self._assigned

    def receive(self, data: bytes, end: bool) -> list[Event]:
        """Take the next bytes of the stream; `end` says the peer closed it behind them.

        Raises StreamError: the owner aborts the stream with its code and drops the session.
        """
        if self._closed:
            return []
        try:
            capsules = self._reader.feed(data, end)
        except DecodeError as error:
            raise malformed(str(error)) from error
        events = [self._handle_capsule(capsule) for capsule in capsules]
        if end:
            self._closed = True
            events.append(Closed())
        return events

    def assign(
        self, addresses: Iterable[AssignedAddress], answering: Iterable[RequestedAddress] = ()
    ) -> bytes:
        """Return the capsule that makes `addresses` all the peer has.

        `answering`: the requests this capsule answers. An entry with the same Request ID grants one, all
        others are refused.
        """
        assigned = tuple(addresses)
        granted = {address.request_id for address in assigned}
        # RFC 9484, section 4.7.2: "For each Requested Address, the receiver of the ADDRESS_REQUEST capsule
        # SHALL respond with an Assigned Address with a matching Request ID. ... If the requested address was
        # not assigned, the IP address SHALL be all-zero, and the IP Prefix Length SHALL be the maximum
        # length". "These address rejections SHOULD NOT be included in subsequent ADDRESS_ASSIGN capsules."
        refusals = tuple(
            AssignedAddress(request.request_id, NOTHING[request.prefix.version == 6])
            for request in answering
            if request.request_id not in granted
        )
        return _encode(AddressAssign(assigned + refusals))

    def request_addresses(self, prefixes: Iterable[Network]) -> bytes:
        """Return the capsule that asks for each of `prefixes` (all-zero address: any), one at least."""
        requests = []
        for prefix in prefixes:
            requests.append(RequestedAddress(self._next_request_id, prefix))
            self._next_request_id += 1
        return _encode(AddressRequest(tuple(requests)))

    def advertise(self, ranges: Iterable[AddressRange]) -> bytes:
        """Return the capsule that makes `ranges`, in any order, all we forward to. ValueError: overlap."""
        return _encode(RouteAdvertisement(tuple(sorted(ranges, key=_order))))

    def _handle_capsule(self, capsule: Capsule) -> Event:
        match capsule:
            case DatagramCapsule(payload):
                return DatagramReceived(payload)
            case AddressAssign(addresses):
                return self._handle_assign(addresses)
            case AddressRequest(requests):
                return self._handle_request(requests)
            case RouteAdvertisement(ranges):
                return self._handle_routes(ranges)

    def _handle_assign(self, entries: tuple[AssignedAddress, ...]) -> Event:
        addresses = tuple(entry for entry in entries if not entry.refused)
        refused = tuple(entry.request_id for entry in entries if entry.refused)
        if self._lenient and addresses:
            versions = {entry.prefix.version for entry in addresses}
            kept = (entry for entry in self._assigned if entry.prefix.version not in versions)
            addresses = tuple(sorted(chain(kept, addresses), key=lambda entry: entry.prefix.version))
        self._assigned = addresses
        return AddressesAssigned(addresses, refused)

    def _handle_request(self, requests: tuple[RequestedAddress, ...]) -> Event:
        if len(self._seen_requests) + len(requests) > MAX_REQUESTS:
            raise StreamError(H3ErrorCode.H3_EXCESSIVE_LOAD, f"more than {MAX_REQUESTS} addresses requested")
        for request in requests:
            # RFC 9484, section 4.7.2: "Request IDs MUST NOT be reused by an endpoint and MUST NOT be zero."
            if request.request_id in self._seen_requests:
                raise malformed(f"Request ID {request.request_id} used again")
            self._seen_requests.add(request.request_id)
        return AddressesRequested(requests)

    def _handle_routes(self, ranges: tuple[AddressRange, ...]) -> Event:
        if self._lenient and ranges:
            versions = {item.start.version for item in ranges}
            kept = (item for item in self._routes if item.start.version not in versions)
            ranges = tuple(sorted(chain(kept, ranges), key=_order))
        self._routes = ranges
        return RoutesAdvertised(ranges)


def _order(item: AddressRange) -> tuple[int, int, int]:
    return item.start.version, item.protocol, int(item.start)


def _encode(capsule: Capsule) -> bytes:
    out = Writer()
    write_capsule(out, capsule)
    return bytes(out)
