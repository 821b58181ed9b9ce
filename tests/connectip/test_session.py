"""Two sessions talking to each other, and peers that break the rules (RFC 9484, section 4.7)."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqvpn.connectip.error import StreamError
from mqvpn.connectip.events import (
    AddressesAssigned,
    AddressesRequested,
    Closed,
    DatagramReceived,
    RoutesAdvertised,
)
from mqvpn.connectip.session import MAX_REQUESTS, Session
from mqvpn.wire.address import (
    AddressAssign,
    AddressRange,
    AddressRequest,
    AssignedAddress,
    RequestedAddress,
    RouteAdvertisement,
)
from mqvpn.wire.buffer import Writer
from mqvpn.wire.capsule import Capsule, CapsuleReader, DatagramCapsule, write_capsule
from mqvpn.wire.http3 import H3ErrorCode

ANY4, ANY6 = IPv4Network("0.0.0.0/32"), IPv6Network("::/128")
MINE = AssignedAddress(0, IPv4Network("10.0.0.2/32"))
MINE6 = AssignedAddress(0, IPv6Network("fd00::2/128"))
ALL4 = AddressRange(IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255"))
ALL6 = AddressRange(IPv6Address("::"), IPv6Address("f" * 4 + ":ffff" * 7))


def encoded(*capsules: Capsule) -> bytes:
    out = Writer()
    for capsule in capsules:
        write_capsule(out, capsule)
    return bytes(out)


def test_assignments_replace_each_other_and_can_be_empty() -> None:
    server, client = Session(), Session()
    assert client.receive(server.assign([MINE, MINE6]), False) == [AddressesAssigned((MINE, MINE6))]
    assert client.assigned == (MINE, MINE6)
    assert client.receive(server.assign([MINE6]), False) == [AddressesAssigned((MINE6,))]
    assert client.receive(server.assign([]), False) == [AddressesAssigned(())]
    assert not client.assigned


def test_routes_replace_each_other_and_are_sorted_by_the_sender() -> None:
    server, client = Session(), Session()
    assert client.receive(server.advertise([ALL6, ALL4]), False) == [RoutesAdvertised((ALL4, ALL6))]
    assert client.receive(server.advertise([ALL4]), False) == [RoutesAdvertised((ALL4,))]


def test_overlapping_routes_are_not_sent() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        Session().advertise([ALL4, AddressRange(IPv4Address("10.0.0.0"), IPv4Address("10.0.0.9"), 6)])


def test_every_request_is_answered_and_a_refusal_only_once() -> None:
    server, client = Session(), Session()
    (asked,) = server.receive(client.request_addresses([ANY4, ANY6]), False)
    wishes = (RequestedAddress(1, ANY4), RequestedAddress(2, ANY6))
    assert asked == AddressesRequested(wishes)
    granted = AssignedAddress(1, IPv4Network("10.0.0.2/32"))
    answer = server.assign([granted], answering=wishes)
    assert CapsuleReader().feed(answer, False) == [AddressAssign((granted, AssignedAddress(2, ANY6)))]
    assert client.receive(answer, False) == [AddressesAssigned((granted,), refused=(2,))]
    assert client.assigned == (granted,)
    assert client.receive(server.assign([granted]), False) == [AddressesAssigned((granted,))]


def test_refusals_have_the_version_that_was_asked_for() -> None:
    wish = RequestedAddress(9, IPv4Network("10.9.9.0/24"))
    answer = Session().assign([], answering=[wish])
    assert CapsuleReader().feed(answer, False) == [AddressAssign((AssignedAddress(9, ANY4),))]


def test_request_ids_are_never_reused_by_us() -> None:
    session = Session()
    sent = session.request_addresses([ANY4, ANY6]) + session.request_addresses([ANY4])
    ids = [
        item.request_id
        for capsule in CapsuleReader().feed(sent, False)
        if isinstance(capsule, AddressRequest)
        for item in capsule.addresses
    ]
    assert ids == [1, 2, 3]


def test_request_ids_must_not_be_reused_by_the_peer() -> None:
    session = Session()
    capsule = encoded(AddressRequest((RequestedAddress(5, ANY4),)))
    session.receive(capsule, False)
    with pytest.raises(StreamError, match="Request ID 5 used again"):
        session.receive(capsule, False)


def test_requests_without_end_are_abuse() -> None:
    session = Session()
    for number in range(1, MAX_REQUESTS + 1):
        session.receive(encoded(AddressRequest((RequestedAddress(number, ANY4),))), False)
    with pytest.raises(StreamError) as caught:
        session.receive(encoded(AddressRequest((RequestedAddress(MAX_REQUESTS + 1, ANY4),))), False)
    assert caught.value.code == H3ErrorCode.H3_EXCESSIVE_LOAD


def test_a_request_for_nothing_is_not_sent() -> None:
    with pytest.raises(ValueError, match="no Requested Address"):
        Session().request_addresses([])


@pytest.mark.parametrize(
    "stream",
    [
        "0200",  # no Requested Address
        "0207" + "00" + "04" + "00000000" + "20",  # Request ID 0
        "0107" + "00" + "04" + "0a000002" + "18",  # bits beyond the prefix
        "0107" + "00" + "05" + "0a000002" + "20",  # IP version 5
        "0106" + "00" + "04" + "0a000002",  # cut short inside
        "030a" + "04" + "00000002" + "00000001" + "00",  # start above end
    ],
)
def test_malformed_capsules_abort_the_stream(stream: str) -> None:
    with pytest.raises(StreamError) as caught:
        Session().receive(bytes.fromhex(stream), False)
    assert caught.value.code == H3ErrorCode.H3_MESSAGE_ERROR


def test_the_end_closes_once() -> None:
    session = Session()
    assert session.receive(encoded(AddressAssign((MINE,))), True) == [AddressesAssigned((MINE,)), Closed()]
    assert session.receive(b"", True) == []


def test_the_end_inside_a_capsule_aborts_the_stream() -> None:
    with pytest.raises(StreamError) as caught:
        Session().receive(encoded(AddressAssign((MINE,)))[:-1], True)
    assert caught.value.code == H3ErrorCode.H3_MESSAGE_ERROR


def test_datagrams_may_come_as_capsules() -> None:
    assert Session().receive(encoded(DatagramCapsule(b"\0packet")), False) == [DatagramReceived(b"\0packet")]


C_SERVER = bytes.fromhex(
    "010700040a00000220"
    "01130006fd00000000000000000000000000000270"
    "030a0400000000ffffffff00"
    "032206" + "00" * 16 + "ff" * 16 + "00"
)


def test_the_c_server_is_understood_when_lenient() -> None:
    session = Session(lenient=True)
    for byte in C_SERVER:
        session.receive(bytes([byte]), False)
    assert session.assigned == (MINE, MINE6)
    assert session.receive(C_SERVER, False)[-1] == RoutesAdvertised((ALL4, ALL6))


def test_lenient_replaces_within_a_version_and_withdraws_all() -> None:
    session = Session(lenient=True)
    session.receive(C_SERVER, False)
    other = AssignedAddress(0, IPv4Network("10.0.0.9/32"))
    assert session.receive(encoded(AddressAssign((other,))), False) == [AddressesAssigned((other, MINE6))]
    assert session.receive(encoded(AddressAssign(())), False) == [AddressesAssigned(())]
    assert session.receive(encoded(RouteAdvertisement(())), False) == [RoutesAdvertised(())]


def test_the_c_server_is_refused_when_strict() -> None:
    with pytest.raises(StreamError, match="bits set beyond"):
        Session().receive(C_SERVER, False)


@given(st.lists(st.binary(max_size=40), max_size=5), st.booleans())
def test_any_bytes_are_events_or_a_stream_error(pieces: list[bytes], lenient: bool) -> None:
    session = Session(lenient=lenient)
    try:
        for piece in pieces:
            session.receive(piece, False)
        session.receive(b"", True)
    except StreamError:
        return
    assert session.receive(b"", True) == []
