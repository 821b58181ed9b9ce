"""How a connection ends (RFC 9000, section 10): closed by either end, idle, reset, or by an error of any kind."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mqvpn.dataplane.engine import Connection
from mqvpn.multipath.lifetime import Lifetime
from mqvpn.multipath.outbox import Outbox
from mqvpn.multipath.seam import QuicConnectionError, QuicFrameType
from mqvpn.multipath.trust import TrustingConnection
from mqvpn.multipath.validation import INITIAL_PTO
from mqvpn.wire.frame import TransportErrorCode

log = logging.getLogger(__name__)

STATELESS_RESET = "stateless reset"  # the reason of a connection that the peer does not know any more


class EndingConnection(TrustingConnection):
    """A connection whose CONNECTION_CLOSE frames go out in 1-RTT packets of the engine's."""

    id: int
    engine_connection: Connection
    _outbox: Outbox
    _lifetime: Lifetime
    _opened = False  # there is a path 0
    _close_sent_at = 0.0

    @property
    def terminated(self) -> bool:
        """Whether nothing is left to do: forget the connection."""
        return self.is_terminated

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever is raised closes this connection, and only this one."""
        try:
            yield
        except QuicConnectionError as error:
            log.info("connection %d: closed: %s", self.id, error)
            self.close(error.error_code, error.frame_type, error.reason_phrase)
        except Exception:
            log.exception("connection %d: closed after an internal error", self.id)
            if self.close_event is not None:
                self.end("internal error")
            self.close(TransportErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING, "internal error")

    def _pto(self) -> float:
        return self.engine_connection.largest_pto() if self._opened else INITIAL_PTO

    def _send_close(self, now: float) -> list[bytes]:
        frames = self.close_frames()
        datagrams = self.handshake_datagrams(now)
        if not self.has_ended:  # no packet of the peer ever came: there is nobody to tell
            self.end("")
        elif self._opened:
            self.engine_connection.close_now(frames)
            self._close_sent_at = now
        return datagrams

    def _repeat_close(self, now: float) -> None:
        """RFC 9000, section 10.2.1: answer packets with CONNECTION_CLOSE, at a limited rate."""
        heard = self.engine_connection.last_received > self._close_sent_at
        if self._opened and heard and not self.is_draining:
            self._close_sent_at = now
            self.engine_connection.close_now(self.close_frames())

    def _notice_end(self, now: float) -> None:
        if self._lifetime.end_at is None and self.close_event is not None:
            self._lifetime.close(now, self._pto())
            self._events.append(self.close_event)
            self._outbox.clear()
            if self.is_draining:
                self.engine_connection.close_now(b"")
        if self.is_terminated:
            self.engine_connection.close()
