"""Frames of authenticated packets against the compiled engine alone: the frame walker, acks and datagrams.

Two engines share keys, one seals whatever frames it is given (no Python is involved in opening them), and what
the other hands on as control frames has to be whole frames.
"""

from mqvpn.dataplane import engine as plane
from mqvpn.wire.buffer import DecodeError, Reader
from mqvpn.wire.frame import FRAMES, read_frame
from tests.dataplane.pair import Link, Pair
from tests.fuzz import pieces

MAX_FRAMES = 1200
RENEWED_AFTER = 2000  # inputs


class Frames:
    """Pieces: the kind chooses the path, the payload is the frames of one packet."""

    def __init__(self) -> None:
        self.history: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        if len(self.history) % RENEWED_AFTER == 0:
            self.history.clear()
            self._pair = Pair([Link(delay=0.0), Link(delay=0.0)])
            self._pair.server.conn.set_spread(True)
            self._pair.server.conn.set_reorder([(0, 0.03, 1024)])
        row = [(kind, payload[:MAX_FRAMES]) for kind, payload in pieces.split(data)]
        self.history.append(pieces.join(row))
        for kind, payload in row:
            if payload:
                self._send(kind % 2, payload)

    def _send(self, path: int, frames: bytes) -> None:
        pair = self._pair
        pair.client.conn.send(frames, path_id=path)
        pair.run(0.001)
        events, pair.server.events = pair.server.events, []
        for event in events:
            if event[0] == plane.CONTROL:
                _check(event[3])
        pair.client.events.clear()
        pair.server.received.clear()


def _check(frames: bytes) -> None:
    """Multipath frames at the front of what the walker gathered: Python finds them whole."""
    source, wrong = Reader(frames), ""
    while source.remaining and int.from_bytes(frames[source.position : source.position + 2]) - 0x4000 in FRAMES:
        try:
            read_frame(source)
        except DecodeError as error:
            wrong = str(error)
            break
    assert "left" not in wrong, "the walker and the reader disagree about a frame's length"
