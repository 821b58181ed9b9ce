"""How many path IDs there may be: MAX_PATH_ID and PATHS_BLOCKED (draft-ietf-quic-multipath-21, section 4.6).

Our limit rises by one for each path ID that is done with, so the number of paths at a time stays what it was
in the transport parameter, however often paths come and go.
"""

from mqvpn.multipath.issuance import Issuance
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.seam import QuicConnectionError
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import (
    PATH_ID_MAX,
    FrameType,
    MaxPathId,
    PathsBlocked,
    TransportErrorCode,
    write_frame,
)


class PathLimits:
    """Our limit on path IDs and the peer's; None: that end does not offer the extension."""

    def __init__(self, own: int | None, issuance: Issuance, outbox: Outbox) -> None:
        self._issuance = issuance
        self._outbox = outbox
        self._issued_up_to = 0  # path 0 has had its connection IDs since the handshake
        self._peer_initial = 0
        self._blocked_until = 0.0
        self.own = own
        self.peer: int | None = None

    @property
    def negotiated(self) -> bool:
        return self.own is not None and self.peer is not None

    @property
    def common(self) -> int:
        """The highest path ID that both ends allow."""
        return min(self.own or 0, self.peer or 0)

    def set_peer(self, initial_max_path_id: int) -> None:
        """The peer's transport parameter."""
        self.peer = self._peer_initial = initial_max_path_id

    def is_done(self, path_id: int) -> bool:
        """Whether the path ID was used or abandoned, and then forgotten."""
        return path_id <= self._issued_up_to and path_id not in self._issuance.local.paths

    def extend(self) -> None:
        """Issue connection IDs for every path ID that both ends allow by now (section 3.2)."""
        self._issuance.allow_paths(self.own or 0)
        for path_id in range(self._issued_up_to + 1, self.common + 1):
            self._issuance.issue(path_id, in_use=False)
        self._issued_up_to = max(self._issued_up_to, self.common)

    def raise_own(self) -> None:
        """A path ID is done with: allow a new one in its place."""
        if self.negotiated and self.own is not None and self.own < PATH_ID_MAX:
            self.own += 1
            limit = self.own
            self._outbox.keep_sending(lambda: self._encode(MaxPathId(limit)) if limit == self.own else None)
            self.extend()

    def handle_max_path_id(self, frame: MaxPathId) -> None:
        """The peer raises its limit; a frame that does not is old and ignored."""
        if self.peer is None or not self._peer_initial <= frame.maximum_path_id <= PATH_ID_MAX:
            raise QuicConnectionError(
                TransportErrorCode.PROTOCOL_VIOLATION,
                FrameType.MAX_PATH_ID,
                f"MAX_PATH_ID {frame.maximum_path_id} is out of range",
            )
        if frame.maximum_path_id > self.peer:
            self.peer = frame.maximum_path_id
            self.extend()

    def send_blocked(self, now: float, pto: float) -> None:
        """Tell the peer that its limit stops us, at most once per probe timeout (seconds)."""
        if now >= self._blocked_until and self.peer is not None:
            self._blocked_until = now + pto
            self._outbox.put(self._encode(PathsBlocked(self.peer)))

    @staticmethod
    def _encode(frame: MaxPathId | PathsBlocked) -> bytes:
        out = Writer()
        write_frame(out, frame)
        return bytes(out)
