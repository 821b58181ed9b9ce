"""The deadlines that end a connection: handshake, idleness (RFC 9000, section 10.1), closing (section 10.2).

aioquic's own stop with the handshake. Idle means no authenticated packet on any path. A server whose client
left the last path waits a little for a new one (draft-ietf-quic-multipath-21, section 3.4).
"""

from typing import Final

HANDSHAKE_TIMEOUT: Final = 10.0  # seconds


class Lifetime:
    """When one connection ends by itself. All times are seconds."""

    def __init__(self, idle_timeout: float) -> None:
        """idle_timeout: ours; 0.0 for none."""
        self._idle_timeout = idle_timeout
        self._handshake_until: float | None = None
        self._complete_since: float | None = None
        self._pathless_until: float | None = None
        self.end_at: float | None = None  # of the closing or draining period

    def begin(self, now: float) -> None:
        """The handshake begins, at the first call."""
        if self._handshake_until is None:
            self._handshake_until = now + HANDSHAKE_TIMEOUT

    def complete(self, now: float, peer_idle_timeout: float) -> None:
        """The handshake is complete: from now on idleness counts; 0.0: the peer has no such timeout."""
        self._complete_since = now
        if peer_idle_timeout:
            self._idle_timeout = min(self._idle_timeout or peer_idle_timeout, peer_idle_timeout)

    def notice_paths(self, any_live: bool, now: float, pto: float) -> None:
        """Whether there is a path that is not abandoned."""
        if any_live:
            self._pathless_until = None
        elif self._pathless_until is None:
            self._pathless_until = now + 3 * pto

    def close(self, now: float, pto: float) -> None:
        """Closing or draining begins: it lasts three probe timeouts, counted by the slowest path."""
        self.end_at = now + 3 * pto

    def next_timeout(self, last_received: float, pto: float) -> float | None:
        """When the connection ends if nothing happens."""
        if self.end_at is not None:
            return self.end_at
        if self._complete_since is None:
            return self._handshake_until
        if self._pathless_until is not None:
            return self._pathless_until
        if not self._idle_timeout:
            return None
        # RFC 9000, section 10.1: "endpoints MUST increase the idle timeout period to be at least three times
        # the current Probe Timeout (PTO)."
        return max(last_received, self._complete_since) + max(self._idle_timeout, 3 * pto)

    def reason(self) -> str:
        """What happened when next_timeout() is reached before closing."""
        if self._complete_since is None:
            return "handshake timeout"
        return "idle timeout" if self._pathless_until is None else "no path left"
