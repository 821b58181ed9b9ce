"""The transport parameter initial_max_path_id, and the defaults of the others."""

import pytest

from mqvpn.multipath.parameters import PeerParameters, read_initial_max_path_id, write_initial_max_path_id
from mqvpn.multipath.seam import QuicConnectionError, QuicTransportParameters
from mqvpn.wire.frame import TransportErrorCode


@pytest.mark.parametrize("limit", [0, 8, 63, 64, (1 << 32) - 1])
def test_what_is_written_is_read_among_others(limit: int) -> None:
    others = b"\x01\x02\x40\x64" + b"\x0c\x00"
    assert read_initial_max_path_id(others + write_initial_max_path_id(limit) + others) == limit
    assert read_initial_max_path_id(others) is None


def test_it_looks_as_specified() -> None:
    assert write_initial_max_path_id(8).hex() == "3e0108"


@pytest.mark.parametrize(
    "parameters",
    [
        write_initial_max_path_id(1 << 32),
        b"\x3e\x02\x08\x00",  # bytes behind the value
        b"\x3e\x01\x40",  # half a value
        b"\x3e\x00",
        b"\x3e\x05\x08",  # longer than what is there
    ],
)
def test_malformed_ones_are_a_transport_parameter_error(parameters: bytes) -> None:
    with pytest.raises(QuicConnectionError) as raised:
        read_initial_max_path_id(parameters)
    assert raised.value.error_code == TransportErrorCode.TRANSPORT_PARAMETER_ERROR


def test_absent_parameters_have_their_defaults_and_times_are_seconds() -> None:
    assert PeerParameters.of(QuicTransportParameters(), b"") == PeerParameters()
    known = QuicTransportParameters(max_ack_delay=10, ack_delay_exponent=0, max_udp_payload_size=1472)
    peer = PeerParameters.of(known, b"")
    assert (peer.max_ack_delay, peer.ack_delay_exponent, peer.max_udp_payload_size) == (0.01, 0, 1472)


def test_a_reset_token_has_16_bytes() -> None:
    PeerParameters.of(QuicTransportParameters(stateless_reset_token=bytes(16)), b"")
    with pytest.raises(QuicConnectionError) as raised:
        PeerParameters.of(QuicTransportParameters(stateless_reset_token=b"45"), b"")
    assert raised.value.error_code == TransportErrorCode.TRANSPORT_PARAMETER_ERROR
