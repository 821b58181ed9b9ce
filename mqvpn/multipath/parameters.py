"""The transport parameter initial_max_path_id (draft-ietf-quic-multipath-21, section 2.1)."""

from mqvpn.multipath.seam import QuicConnectionError, QuicFrameType
from mqvpn.wire.buffer import DecodeError, Reader, Writer
from mqvpn.wire.frame import PATH_ID_MAX, TransportErrorCode, TransportParameter


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
