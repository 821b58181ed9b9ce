"""PATH_STATUS_AVAILABLE and PATH_STATUS_BACKUP, both ways (draft-ietf-quic-multipath-21, section 3.3)."""

from collections.abc import Callable
from functools import partial

from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Path
from mqvpn.wire.buffer import Writer
from mqvpn.wire.frame import PathStatus, write_frame


class Statuses:
    """What each end wants a path to be: to be used, or only when no other works."""

    def __init__(self, outbox: Outbox, apply: Callable[[Path], None]) -> None:
        """apply: is called when `backup` or `peer_backup` of a path changed."""
        self._outbox = outbox
        self._apply = apply
        self._peer: dict[int, PathStatus] = {}

    def opened(self, path: Path) -> None:
        """The peer may have named its wish before the path was there."""
        if path.path_id in self._peer:
            path.peer_backup = self._peer[path.path_id].backup

    def set(self, path: Path, *, backup: bool) -> None:
        """Ask the peer to send on this path, or only when no other works."""
        path.backup = backup
        self._apply(path)
        path.status_sequence += 1
        self._outbox.keep_sending(partial(self._encode, path, path.status_sequence))

    def handle(self, status: PathStatus, path: Path | None) -> None:
        """Note what the peer prefers; an older frame that comes late changes nothing."""
        known = self._peer.get(status.path_id)
        if known is not None and known.sequence_number >= status.sequence_number:
            return
        self._peer[status.path_id] = status
        if path is not None and path.is_live:
            path.peer_backup = status.backup
            self._apply(path)

    def forget(self, path_id: int) -> None:
        self._peer.pop(path_id, None)

    def _encode(self, path: Path, sequence: int) -> bytes | None:
        if not path.is_live or sequence != path.status_sequence:
            return None
        out = Writer()
        write_frame(out, PathStatus(path.path_id, sequence, path.backup))
        return bytes(out)
