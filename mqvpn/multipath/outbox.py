"""Control frames on their way to the engine, and what to do when their packets are acknowledged or lost.

The engine takes one packet's frames at a time and says how much it will take, so frames wait here. It
reports the fate of each packet once, by token; frames that still matter are then written anew (RFC 9000,
section 13.3).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mqvpn.dataplane.engine import ANY_PATH, Connection, Elsewhere
from mqvpn.multipath.seam import Delivered

# Fits into a UDP payload of 1200 bytes beside a short header with a 20-byte connection ID and the AEAD tag.
PACKET_FRAMES: Final = 1150

FrameSource = Callable[[int], tuple[bytes, Delivered] | None]  # size -> frames and their delivery, if any


@dataclass(slots=True)
class Item:
    """A frame that waits."""

    frame: bytes
    delivered: Delivered | None
    path_id: int
    pad_to: int
    mtu_probe: bool = False
    elsewhere: Elsewhere | None = None


class Outbox:
    """The control frames of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._items: deque[Item] = deque()
        self._deliveries: dict[int, list[Delivered]] = {}
        self._last_token = 0

    def put(
        self,
        frame: bytes,
        delivered: Delivered | None = None,
        *,
        path_id: int = ANY_PATH,
        pad_to: int = 0,
        mtu_probe: bool = False,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Queue a frame for any path, or in a packet of its own for one; pad_to: bytes of UDP payload;
        mtu_probe: such a packet may be too large for the path, so losing it is no sign of congestion;
        elsewhere: not to the path's own address.
        """
        self._items.append(Item(frame, delivered, path_id, pad_to, mtu_probe, elsewhere))

    def keep_sending(self, make: Callable[[], bytes | None]) -> None:
        """Send what make() returns until it arrives; make() is asked again after each loss, None ends it."""
        frame = make()
        if frame is not None:
            self.put(frame, lambda acked: None if acked else self.keep_sending(make))

    def discard(self, path_id: int) -> None:
        """Give up the frames that wait for this path, as if they were lost."""
        gone = [item for item in self._items if item.path_id == path_id]
        self._items = deque(item for item in self._items if item.path_id != path_id)
        for item in gone:
            if item.delivered is not None:
                item.delivered(False)

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._items.clear()
        self._deliveries.clear()

    def flush(self, more: FrameSource, *, any_path: bool) -> None:
        """Give the engine what it has room for: what waits here, then what `more` has to say.

        any_path: whether there is a path for frames that do not name one.
        """
        held: deque[Item] = deque()
        while self._items and (room := self._connection.room()) > 0:
            item = self._items.popleft()
            if item.path_id == ANY_PATH and not any_path:
                held.append(item)
            elif len(item.frame) > room:
                self._items.appendleft(item)
                break
            else:
                self._send([item, *self._companions(item, room)])
        self._items.extendleft(reversed(held))
        while any_path and (room := self._connection.room()) >= PACKET_FRAMES:
            if (found := more(PACKET_FRAMES)) is None:
                break
            frames, delivered = found
            self._connection.send(frames, ANY_PATH, self._token([delivered]))

    def handle_token(self, token: int, acked: bool) -> None:
        """Tell the owners of a packet's frames what became of it."""
        for delivered in self._deliveries.pop(token, ()):
            delivered(acked)

    def _companions(self, first: Item, room: int) -> list[Item]:
        """The next frames that may share a packet with the first."""
        found: list[Item] = []
        size = len(first.frame)
        while self._items and first.path_id == self._items[0].path_id == ANY_PATH:
            size += len(self._items[0].frame)
            if size > min(room, PACKET_FRAMES):
                break
            found.append(self._items.popleft())
        return found

    def _send(self, items: list[Item]) -> None:
        frames = b"".join(item.frame for item in items)
        deliveries = [item.delivered for item in items if item.delivered is not None]
        token = self._token(deliveries) if deliveries else 0
        first = items[0]
        self._connection.send(frames, first.path_id, token, first.pad_to, first.mtu_probe, first.elsewhere)

    def _token(self, deliveries: list[Delivered]) -> int:
        self._last_token += 1
        self._deliveries[self._last_token] = deliveries
        return self._last_token
