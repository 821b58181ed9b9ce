"""The packets by which a path is validated and its MTU proven: each is bound to its path and padded."""

from collections.abc import Callable
from functools import partial
from typing import Final

from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.path import Path
from mqvpn.multipath.validation import CHALLENGE_DATAGRAM_SIZE, SMALLEST_MTU, MtuProof, Validation

PING: Final = 0x01
PATH_CHALLENGE: Final = 0x1A
PATH_RESPONSE: Final = 0x1B


class Prober:
    """Sends PATH_CHALLENGE, PATH_RESPONSE and padded PINGs for the paths of one connection."""

    def __init__(self, outbox: Outbox, proven: Callable[[Path, int], None], hopeless: Callable[[Path], None]) -> None:
        """proven: a larger UDP payload passed; hopeless: SMALLEST_MTU did not pass and no try is left."""
        self._outbox = outbox
        self._proven = proven
        self._hopeless = hopeless
        self.max_udp_payload = 65527  # the peer's

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

    def prove(self, path: Path) -> None:
        """Find out which datagram sizes pass."""
        path.proof = proof = MtuProof(self.max_udp_payload)
        for size in proof.sizes():
            self._probe(path, proof, size)

    def _put(self, path: Path, frame: bytes) -> None:
        self._outbox.put(frame, path_id=path.path_id, pad_to=CHALLENGE_DATAGRAM_SIZE)

    def _probe(self, path: Path, proof: MtuProof, size: int) -> None:
        delivered = partial(self._probed, path, proof, size)
        self._outbox.put(bytes([PING]), delivered, path_id=path.path_id, pad_to=size)

    def _probed(self, path: Path, proof: MtuProof, size: int, acked: bool) -> None:
        if not path.is_live or path.proof is not proof:
            return
        if acked:
            proof.proven(size)
            if size > path.mtu:
                self._proven(path, size)
        elif proof.retry(size):
            self._probe(path, proof, size)
        if proof.is_hopeless() and path.mtu < SMALLEST_MTU:
            self._hopeless(path)
