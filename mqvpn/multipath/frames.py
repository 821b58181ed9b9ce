"""The frames that this package handles itself, and what is wrong with them where (PATH_ACK is the engine's).

Seven kinds of draft-ietf-quic-multipath-21, section 4, and four of RFC 9000 that aioquic would take for its
one path. Errors are raised as QuicConnectionError and close the connection with their code.
"""

from typing import Final

from mqvpn.multipath.issuance import NEW_CONNECTION_ID, RETIRE_CONNECTION_ID, Issuance, read_new_connection_id
from mqvpn.multipath.limits import PathLimits
from mqvpn.multipath.paths import Paths
from mqvpn.multipath.probing import PATH_CHALLENGE, PATH_RESPONSE
from mqvpn.multipath.seam import Arrival, ControlConnection, QuicConnectionError
from mqvpn.wire.buffer import Reader
from mqvpn.wire.frame import (
    FRAMES,
    Frame,
    FrameType,
    MaxPathId,
    PathAbandon,
    PathCidsBlocked,
    PathNewConnectionId,
    PathRetireConnectionId,
    PathsBlocked,
    PathStatus,
    TransportErrorCode,
)

CHALLENGE_SIZE: Final = 8  # bytes (RFC 9000, section 19.17)


class ControlFrames:
    """Checks frames and passes them to who they are for."""

    def __init__(self, paths: Paths, issuance: Issuance, limits: PathLimits) -> None:
        self._paths = paths
        self._issuance = issuance
        self._limits = limits

    def install(self, quic: ControlConnection) -> None:
        """Take these frame types from aioquic."""
        handle_multipath = self._handle_multipath
        for number in (*FRAMES, FrameType.PATH_ACK, FrameType.PATH_ACK_ECN):
            quic.add_frame_handler(number, handle_multipath)
        quic.add_frame_handler(NEW_CONNECTION_ID, self._handle_new_connection_id)
        quic.add_frame_handler(RETIRE_CONNECTION_ID, self._handle_retire_connection_id)
        quic.add_frame_handler(PATH_CHALLENGE, self._handle_challenge)
        quic.add_frame_handler(PATH_RESPONSE, self._handle_response)

    def _handle_multipath(self, arrival: Arrival, source: Reader) -> None:
        read = FRAMES.get(arrival.frame_type)
        if not self._limits.negotiated or read is None:
            # RFC 9000, section 12.4: "An endpoint MUST treat the receipt of a frame of unknown type as a
            # connection error of type FRAME_ENCODING_ERROR."
            raise QuicConnectionError(TransportErrorCode.FRAME_ENCODING_ERROR, arrival.frame_type, "unknown frame type")
        self._handle(read(source), arrival)

    def _handle(self, frame: Frame, arrival: Arrival) -> None:
        match frame:
            case MaxPathId():
                self._limits.handle_max_path_id(frame)
            case PathsBlocked():  # our limit rises as paths are forgotten, not on request
                self._check_limit(frame.maximum_path_id, arrival)
            case _ if not self._concerns_us(frame.path_id, arrival):
                return  # about a path that is gone
            case PathAbandon():
                self._paths.handle_abandon(frame, arrival.now)
            case PathStatus():
                self._paths.handle_status(frame)
            case PathNewConnectionId():
                self._take(frame, arrival.now)
            case PathRetireConnectionId():
                self._retire(frame.path_id, frame.sequence_number, arrival)
            case PathCidsBlocked():
                self._issuance.handle_blocked(frame, in_use=self._paths.is_used(frame.path_id))

    def _check_limit(self, path_id: int, arrival: Arrival) -> None:
        if path_id > (self._limits.own or 0):
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION,
                arrival.frame_type,
                f"path ID {path_id} is above our limit",
            )

    def _concerns_us(self, path_id: int, arrival: Arrival) -> bool:
        self._check_limit(path_id, arrival)
        path = self._paths.table.get(path_id)
        if path is not None and not path.is_live:
            return arrival.frame_type == FrameType.PATH_ABANDON  # perhaps the answer to ours
        return not self._limits.is_done(path_id)

    def _take(self, frame: PathNewConnectionId, now: float) -> None:
        if self._issuance.handle_new(frame):
            self._paths.replace_cid(frame.path_id)
        self._paths.advance(now)

    def _retire(self, path_id: int, sequence: int, arrival: Arrival) -> None:
        # RFC 9000, section 19.16: it "MUST NOT refer to the Destination Connection ID field of the packet in which
        # the frame is contained. The peer MAY treat this as a connection error of type PROTOCOL_VIOLATION."
        if (path_id, sequence) == (arrival.path_id, arrival.sequence):
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION, arrival.frame_type, "retires the connection ID it came to"
            )
        self._issuance.handle_retire(path_id, sequence, in_use=self._paths.is_used(path_id))

    def _handle_new_connection_id(self, arrival: Arrival, source: Reader) -> None:
        frame = read_new_connection_id(source)
        if self._concerns_us(0, arrival):
            self._take(frame, arrival.now)

    def _handle_retire_connection_id(self, arrival: Arrival, source: Reader) -> None:
        sequence = source.varint()
        if self._concerns_us(0, arrival):
            self._retire(0, sequence, arrival)

    def _handle_challenge(self, arrival: Arrival, source: Reader) -> None:
        self._paths.handle_challenge(arrival.path_id, source.take(CHALLENGE_SIZE))

    def _handle_response(self, arrival: Arrival, source: Reader) -> None:
        self._paths.handle_response(arrival.path_id, source.take(CHALLENGE_SIZE), arrival.now)
