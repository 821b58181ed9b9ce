"""Hypothesis strategies for the values of the wire formats."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from mqvpn.wire.address import (
    AddressAssign,
    AddressRange,
    AddressRequest,
    AssignedAddress,
    Network,
    RequestedAddress,
    RouteAdvertisement,
)
from mqvpn.wire.buffer import VARINT_MAX
from mqvpn.wire.capsule import Capsule, DatagramCapsule

varints = st.integers(0, VARINT_MAX)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    if draw(st.booleans()):
        return IPv4Network((draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 32))), strict=False)
    return IPv6Network((draw(st.integers(0, 2**128 - 1)), draw(st.integers(0, 128))), strict=False)


@st.composite
def route_advertisements(draw: st.DrawFn) -> RouteAdvertisement:
    """Disjoint ranges in order: pairs of the sorted points of each version and protocol."""
    ranges: list[AddressRange] = []
    for version, bits in ((IPv4Address, 32), (IPv6Address, 128)):
        protocols = draw(st.sampled_from([[0], [1, 6, 17], []]))
        for protocol in protocols:
            points = sorted(draw(st.sets(st.integers(0, 2**bits - 1), max_size=8)))
            for start, end in zip(points[::2], points[1::2], strict=False):
                ranges.append(AddressRange(version(start), version(end), protocol))
    return RouteAdvertisement(tuple(ranges))


assigned = st.builds(AssignedAddress, varints, networks())
requested = st.builds(RequestedAddress, st.integers(1, VARINT_MAX), networks())

capsules: st.SearchStrategy[Capsule] = st.one_of(
    st.builds(DatagramCapsule, st.binary(max_size=100)),
    st.builds(AddressAssign, st.lists(assigned, max_size=5).map(tuple)),
    st.builds(
        AddressRequest,
        st.lists(requested, min_size=1, max_size=5, unique_by=lambda item: item.request_id).map(tuple),
    ),
    route_advertisements(),
)
