"""When we update the packet protection keys (RFC 9001, section 6), and when old ones are forgotten.

An update comes after so many packets, counted over all paths, long before the AEAD's confidentiality limit (section
6.6), or after a while. It waits until the last one was confirmed and three times the largest probe timeout of all
paths have passed since (draft-ietf-quic-multipath-21, section 2.4.1). A connection that cannot update in time is
closed.
"""

from typing import Final

from mqvpn.dataplane.engine import Connection
from mqvpn.multipath.keys import Keys
from mqvpn.multipath.seam import QuicConnectionError, QuicFrameType
from mqvpn.wire.frame import TransportErrorCode

UPDATE_PACKETS: Final = 1 << 22  # sent with the same keys
CONFIDENTIALITY_LIMIT: Final = 1 << 23  # of AES-GCM; that of ChaCha20-Poly1305 is beyond all packet numbers
RESERVE: Final = 1 << 16  # packets that may leave before a KEY_LIMIT event is acted upon
UPDATE_EVERY: Final = 3600.0  # seconds
AES_INTEGRITY_LIMIT: Final = 1 << 52  # packets that did not open, over all keys
CHACHA_INTEGRITY_LIMIT: Final = 1 << 36


class KeyUpdates:
    """The key updates of one connection, both ends'."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._generation = 0
        self._sealed_before = 0  # packets, with older keys
        self._unconfirmed = False  # we updated, and the peer did not follow yet
        self._settled_at: float | None = None  # when both ends were last seen to use the same keys; None: too early
        self._due_at = 0.0
        self._discard_at: float | None = None
        self.packets = UPDATE_PACKETS

    def begin(self, now: float) -> None:
        """The handshake is confirmed: from now on keys may be updated (RFC 9001, section 6)."""
        self._settled_at = now
        self._due_at = now + UPDATE_EVERY
        self._set_limits(self.packets)

    def handle_key_phase(self, generation: int, now: float) -> None:
        """The peer uses `generation`, either as the first or because we do."""
        self._keys.handle_key_phase(generation)
        self._settled_at = now
        self._discard_at = now + 3 * self._connection.largest_pto()
        if not self._unconfirmed:
            self._begin_generation(generation, now)
        self._unconfirmed = False

    def handle_limit(self, now: float) -> None:
        """The engine sent as many packets as it was to tell of."""
        used = self._connection.aead_counts()[0] - self._sealed_before
        if self.update(now):
            return
        if used >= CONFIDENTIALITY_LIMIT - RESERVE and self._keys.is_aes:
            # RFC 9001, section 6.6: "If a key update is not possible ... the endpoint MUST stop using the
            # connection".
            raise QuicConnectionError(
                TransportErrorCode.AEAD_LIMIT_REACHED, QuicFrameType.PADDING, "keys used up, and no update possible"
            )
        self._due_at = now
        self._set_limits(CONFIDENTIALITY_LIMIT - RESERVE)

    def update(self, now: float) -> bool:
        """Update the keys if that is allowed now."""
        if now < self._allowed_at() or self._unconfirmed or not self._connection.keys_confirmed():
            return False
        self._connection.update_keys()
        self._unconfirmed = True
        self._begin_generation(self._generation + 1, now)
        return True

    def next_timeout(self) -> float | None:
        """When handle_timeout() is due."""
        times = [] if self._discard_at is None else [self._discard_at]
        if self._settled_at is not None and not self._unconfirmed:
            times.append(max(self._due_at, self._allowed_at()))
        return min(times, default=None)

    def handle_timeout(self, now: float) -> None:
        """Forget old keys; update, or try again after a probe timeout."""
        if self._discard_at is not None and now >= self._discard_at:
            self._discard_at = None
            for generation in range(max(0, self._generation - 2), self._generation):
                self._connection.drop_keys(generation)
        if self._settled_at is not None and now >= self._due_at and not self.update(now):
            self._due_at = max(now + self._connection.largest_pto(), self._due_at)

    def _allowed_at(self) -> float:
        if self._settled_at is None:
            return float("inf")
        return self._settled_at + 3 * self._connection.largest_pto()

    def _begin_generation(self, generation: int, now: float) -> None:
        self._generation = generation
        self._sealed_before = self._connection.aead_counts()[0]
        self._due_at = now + UPDATE_EVERY
        self._set_limits(self.packets)

    def _set_limits(self, packets: int) -> None:
        integrity = AES_INTEGRITY_LIMIT if self._keys.is_aes else CHACHA_INTEGRITY_LIMIT
        self._connection.set_aead_limits(self._sealed_before + packets, integrity)
