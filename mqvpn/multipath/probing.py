"""The packets by which a path's address is validated (RFC 9000, section 8.2): bound to their path, and padded."""

from typing import Final

from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Address, Path
from mqvpn.multipath.validation import CHALLENGE_DATAGRAM_SIZE, Validation

PATH_CHALLENGE: Final = 0x1A
PATH_RESPONSE: Final = 0x1B


class Prober:
    """Sends PATH_CHALLENGE and PATH_RESPONSE for the paths of one connection."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def answer(self, path: Path) -> None:
        """Send a PATH_RESPONSE for each challenge of the peer; a lost one is asked for again by the peer."""
        for data in path.challenges:
            self._put(path, bytes([PATH_RESPONSE]) + data)
        path.challenges = []

    def validate(self, path: Path, pto: float, now: float) -> None:
        """Begin to validate the path's address; pto: of a path that works, seconds."""
        path.validation = Validation(now, pto)
        self.challenge(path, now)

    def challenge(self, path: Path, now: float) -> None:
        """Send the next PATH_CHALLENGE of the validation under way."""
        if path.validation is not None:
            self._put(path, bytes([PATH_CHALLENGE]) + path.validation.challenge(now))

    def recall(self, path: Path, data: bytes, address: Address, cid: bytes) -> None:
        """Send a PATH_CHALLENGE to the address that the path left, with the connection ID that was used there."""
        elsewhere = (address.socket, address.remote, address.local, cid)
        frame = bytes([PATH_CHALLENGE]) + data
        self._outbox.put(frame, path_id=path.path_id, pad_to=CHALLENGE_DATAGRAM_SIZE, elsewhere=elsewhere)

    def _put(self, path: Path, frame: bytes) -> None:
        self._outbox.put(frame, path_id=path.path_id, pad_to=CHALLENGE_DATAGRAM_SIZE)
