"""The frames of Multipath QUIC (draft-ietf-quic-multipath-21, section 4) and the numbers of the transport.

Each class reads and writes the fields behind the frame type; read_frame() and write_frame() take the whole
frame. PATH_ACK has only its numbers here: the compiled engine reads and writes it. Limits that depend on the
connection (path ID limits, sequence numbers issued) are not checked here but where the connection is known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import ClassVar, Final, Self

from mqvpn.wire.buffer import DecodeError, Reader, Writer, varint_size

PATH_ID_MAX: Final = (1 << 32) - 1  # the nonce has 32 bits for it (section 2.4)
RESET_TOKEN_SIZE: Final = 16


class FrameType(IntEnum):
    """Frame types of the extension (section 4)."""

    PATH_ACK = 0x3E
    PATH_ACK_ECN = 0x3F
    PATH_ABANDON = 0x3E75
    PATH_STATUS_BACKUP = 0x3E76
    PATH_STATUS_AVAILABLE = 0x3E77
    PATH_NEW_CONNECTION_ID = 0x3E78
    PATH_RETIRE_CONNECTION_ID = 0x3E79
    MAX_PATH_ID = 0x3E7A
    PATHS_BLOCKED = 0x3E7B
    PATH_CIDS_BLOCKED = 0x3E7C


class TransportParameter(IntEnum):
    """Transport parameters that Multipath QUIC (section 2.1) and DATAGRAM (RFC 9221, section 3) add."""

    MAX_DATAGRAM_FRAME_SIZE = 0x20
    INITIAL_MAX_PATH_ID = 0x3E


class TransportErrorCode(IntEnum):
    """RFC 9000, section 20.1, and for PATH_ABANDON section 4.2.1 of the draft."""

    NO_ERROR = 0x00
    INTERNAL_ERROR = 0x01
    CONNECTION_REFUSED = 0x02
    FLOW_CONTROL_ERROR = 0x03
    STREAM_LIMIT_ERROR = 0x04
    STREAM_STATE_ERROR = 0x05
    FINAL_SIZE_ERROR = 0x06
    FRAME_ENCODING_ERROR = 0x07
    TRANSPORT_PARAMETER_ERROR = 0x08
    CONNECTION_ID_LIMIT_ERROR = 0x09
    PROTOCOL_VIOLATION = 0x0A
    INVALID_TOKEN = 0x0B
    APPLICATION_ERROR = 0x0C
    CRYPTO_BUFFER_EXCEEDED = 0x0D
    KEY_UPDATE_ERROR = 0x0E
    AEAD_LIMIT_REACHED = 0x0F
    NO_VIABLE_PATH = 0x10
    APPLICATION_ABANDON_PATH = 0x3E
    CRYPTO_ERROR = 0x100  # plus the TLS alert: 0x100 to 0x1ff
    PATH_RESOURCE_LIMIT_REACHED = 0x3E75
    PATH_UNSTABLE_OR_POOR = 0x3E76
    NO_CID_AVAILABLE_FOR_PATH = 0x3E77


@dataclass(frozen=True, slots=True)
class PathAbandon:
    """Section 4.2. `error_code`: a TransportErrorCode or a number of the peer's own."""

    type: ClassVar[FrameType] = FrameType.PATH_ABANDON
    path_id: int
    error_code: int

    def write(self, out: Writer) -> None:
        out.varint(self.path_id)
        out.varint(self.error_code)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.varint(), src.varint())


@dataclass(frozen=True, slots=True)
class PathStatus:
    """PATH_STATUS_BACKUP and PATH_STATUS_AVAILABLE (section 4.3): one sequence number space per path."""

    path_id: int
    sequence_number: int
    backup: bool

    @property
    def type(self) -> FrameType:
        return FrameType.PATH_STATUS_BACKUP if self.backup else FrameType.PATH_STATUS_AVAILABLE

    def write(self, out: Writer) -> None:
        out.varint(self.path_id)
        out.varint(self.sequence_number)

    @classmethod
    def read(cls, src: Reader, *, backup: bool) -> Self:
        return cls(src.varint(), src.varint(), backup)


@dataclass(frozen=True, slots=True)
class PathNewConnectionId:
    """Section 4.4: a connection ID of 1 to 20 bytes for one path, and its Stateless Reset Token."""

    type: ClassVar[FrameType] = FrameType.PATH_NEW_CONNECTION_ID
    path_id: int
    sequence_number: int
    retire_prior_to: int
    connection_id: bytes
    stateless_reset_token: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.connection_id) <= 20 or len(self.stateless_reset_token) != RESET_TOKEN_SIZE:
            raise ValueError("a connection ID has 1 to 20 bytes, a Stateless Reset Token 16")
        if self.retire_prior_to > self.sequence_number:
            raise ValueError("Retire Prior To is above the Sequence Number")

    def write(self, out: Writer) -> None:
        out.varint(self.path_id)
        out.varint(self.sequence_number)
        out.varint(self.retire_prior_to)
        out.uint8(len(self.connection_id))
        out.write(self.connection_id)
        out.write(self.stateless_reset_token)

    @classmethod
    def read(cls, src: Reader) -> Self:
        path_id, sequence_number, retire_prior_to = src.varint(), src.varint(), src.varint()
        # RFC 9000, section 19.15: "Receiving a value in the Retire Prior To field that is greater than that
        # in the Sequence Number field MUST be treated as a connection error of type FRAME_ENCODING_ERROR."
        if retire_prior_to > sequence_number:
            raise DecodeError("PATH_NEW_CONNECTION_ID: Retire Prior To is above the Sequence Number")
        # "Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of
        # type FRAME_ENCODING_ERROR."
        size = src.uint8()
        if not 1 <= size <= 20:
            raise DecodeError(f"PATH_NEW_CONNECTION_ID: a connection ID of {size} bytes")
        return cls(path_id, sequence_number, retire_prior_to, src.take(size), src.take(RESET_TOKEN_SIZE))


@dataclass(frozen=True, slots=True)
class PathRetireConnectionId:
    """Section 4.5."""

    type: ClassVar[FrameType] = FrameType.PATH_RETIRE_CONNECTION_ID
    path_id: int
    sequence_number: int

    def write(self, out: Writer) -> None:
        out.varint(self.path_id)
        out.varint(self.sequence_number)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.varint(), src.varint())


@dataclass(frozen=True, slots=True)
class MaxPathId:
    """Section 4.6. A received value above PATH_ID_MAX is a PROTOCOL_VIOLATION, not an encoding error."""

    type: ClassVar[FrameType] = FrameType.MAX_PATH_ID
    maximum_path_id: int

    def write(self, out: Writer) -> None:
        out.varint(self.maximum_path_id)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.varint())


@dataclass(frozen=True, slots=True)
class PathsBlocked:
    """Section 4.7: the sender wants a path beyond `maximum_path_id`, the limit in force when it was sent."""

    type: ClassVar[FrameType] = FrameType.PATHS_BLOCKED
    maximum_path_id: int

    def write(self, out: Writer) -> None:
        out.varint(self.maximum_path_id)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.varint())


@dataclass(frozen=True, slots=True)
class PathCidsBlocked:
    """Section 4.7: the sender lacks a connection ID for the path and expects `next_sequence_number`."""

    type: ClassVar[FrameType] = FrameType.PATH_CIDS_BLOCKED
    path_id: int
    next_sequence_number: int

    def write(self, out: Writer) -> None:
        out.varint(self.path_id)
        out.varint(self.next_sequence_number)

    @classmethod
    def read(cls, src: Reader) -> Self:
        return cls(src.varint(), src.varint())


Frame = (
    PathAbandon
    | PathStatus
    | PathNewConnectionId
    | PathRetireConnectionId
    | MaxPathId
    | PathsBlocked
    | PathCidsBlocked
)

FRAMES: Final[dict[int, Callable[[Reader], Frame]]] = {
    FrameType.PATH_ABANDON: PathAbandon.read,
    FrameType.PATH_STATUS_BACKUP: partial(PathStatus.read, backup=True),
    FrameType.PATH_STATUS_AVAILABLE: partial(PathStatus.read, backup=False),
    FrameType.PATH_NEW_CONNECTION_ID: PathNewConnectionId.read,
    FrameType.PATH_RETIRE_CONNECTION_ID: PathRetireConnectionId.read,
    FrameType.MAX_PATH_ID: MaxPathId.read,
    FrameType.PATHS_BLOCKED: PathsBlocked.read,
    FrameType.PATH_CIDS_BLOCKED: PathCidsBlocked.read,
}


def write_frame(out: Writer, frame: Frame) -> None:
    """Write `frame` with its type."""
    out.varint(frame.type)
    frame.write(out)


def read_frame(src: Reader) -> Frame:
    """Read one frame of FRAMES with its type; any other type is a DecodeError."""
    start = src.position
    number = src.varint()
    # RFC 9000, section 12.4: "a frame type MUST use the shortest possible encoding."
    if src.position - start != varint_size(number):
        raise DecodeError(f"frame type {number:#x} in a longer form than needed")
    if number not in FRAMES:
        raise DecodeError(f"frame type {number:#x} is not a multipath frame")
    return FRAMES[number](src)
