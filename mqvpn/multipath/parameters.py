"""The peer's transport parameters (RFC 9000, section 18.2) as far as the engine and the paths need them.

aioquic does not know initial_max_path_id (draft-ietf-quic-multipath-21, section 2.1): that is read here.
"""

from dataclasses import dataclass
from typing import Self

from mqvpn.multipath.seam import QuicConnectionError, QuicFrameType, QuicTransportParameters
from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.frame import PATH_ID_MAX, RESET_TOKEN_SIZE, TransportErrorCode, TransportParameter


@dataclass(frozen=True, slots=True)
class PeerParameters:
    """What the peer announced, with the defaults of RFC 9000. Sizes are bytes, times seconds."""

    initial_max_path_id: int | None = None  # None: the peer does not offer the extension
    ack_delay_exponent: int = 3
    max_ack_delay: float = 0.025
    max_datagram_frame_size: int = 0
    max_udp_payload_size: int = 65527
    disable_active_migration: bool = False

    @classmethod
    def of(cls, known: QuicTransportParameters, raw: bytes) -> Self:
        """known: as aioquic read them, raw: as they came; QuicConnectionError: they are malformed."""
        # RFC 9000, section 18.2: stateless_reset_token "is a sequence of 16 bytes"; aioquic takes any.
        if len(known.stateless_reset_token or bytes(RESET_TOKEN_SIZE)) != RESET_TOKEN_SIZE:
            raise _refused("stateless_reset_token has not 16 bytes")
        ack_delay, payload = known.max_ack_delay, known.max_udp_payload_size
        return cls(
            initial_max_path_id=read_initial_max_path_id(raw),
            ack_delay_exponent=3 if known.ack_delay_exponent is None else known.ack_delay_exponent,
            max_ack_delay=0.025 if ack_delay is None else ack_delay / 1000,
            max_datagram_frame_size=known.max_datagram_frame_size or 0,
            max_udp_payload_size=65527 if payload is None else payload,
            disable_active_migration=bool(known.disable_active_migration),
        )


def write_initial_max_path_id(limit: int) -> bytes:
    """Return the encoded transport parameter."""
    value = Writer()
    value.varint(limit)
    out = Writer()
    out.varint(TransportParameter.INITIAL_MAX_PATH_ID)
    out.varint(len(bytes(value)))
    out.write(bytes(value))
    return bytes(out)


def read_initial_max_path_id(parameters: bytes) -> int | None:
    """Find it among the peer's transport parameters; None: the peer does not offer the extension."""
    source = Reader(parameters)
    try:
        while source.remaining:
            number, value = source.varint(), Reader(source.take(source.varint()))
            if number == TransportParameter.INITIAL_MAX_PATH_ID:
                limit = value.varint()
                value.expect_end()
                return _checked(limit)
    except DecodeError as error:
        raise _refused(str(error)) from error
    return None


def _checked(limit: int) -> int:
    # Section 2.1: a value above 2^32-1 MUST close the connection with TRANSPORT_PARAMETER_ERROR.
    if limit > PATH_ID_MAX:
        raise _refused(f"initial_max_path_id {limit} is out of range")
    return limit


def _refused(reason: str) -> QuicConnectionError:
    return QuicConnectionError(TransportErrorCode.TRANSPORT_PARAMETER_ERROR, QuicFrameType.CRYPTO, reason)
