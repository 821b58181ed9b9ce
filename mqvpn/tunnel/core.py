"""What ClientTunnel and ServerTunnel share: events reach their connections, timers fire, answers leave.

Only connections that something happened to are looked at, so a wake-up costs the same with one client and
with a thousand. An exception out of one connection ends that connection and nothing else.
"""

import heapq
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from mqvpn.dataplane import engine as plane
from mqvpn.dataplane.packet import PacketBatch
from mqvpn.multipath.connection import MultipathConnection
from mqvpn.tunnel.capsules import compose_datagram, read_datagram
from mqvpn.tunnel.icmp import packet_too_big, unreachable
from mqvpn.tunnel.qlog import Recorder
from mqvpn.wire.buffer import DecodeError, Reader
from mqvpn.wire.http3 import H3ErrorCode

log = logging.getLogger(__name__)

HANDSHAKES_AT_ONCE = 1  # datagram of them, which takes milliseconds, before packets have their turn again
MAX_HANDSHAKES = 512  # datagrams of them that wait; clients send again what is given up
CAPSULE_BYTES = 128 * 1024  # of packets on their way in capsules; the rest waits in the engine's queue

Endpoint = tuple[str, int]

MAX_QUARTER_STREAM_ID = (1 << 60) - 1

ShortHeader = tuple[bytes, int, Endpoint, Endpoint | None]  # data, socket, remote, local
LongDatagram = tuple[int, Endpoint, Endpoint | None, bytes]  # as it came: socket, remote, local, data
Datagram = tuple[int, Endpoint, Endpoint | None, bytes]  # socket, remote, local, data; no local: the kernel's choice


class Tunnel(ABC):
    """One end's connections on one engine. Give it `now` from a single clock, in seconds.

    After each wake-up: handle_events(), then what short_headers(), packets(), datagrams() and poll() return.
    """

    def __init__(self, engine: plane.Engine) -> None:
        self.engine = engine
        self.internal_errors = 0
        self.recorder: Recorder | None = None
        self._connections: dict[MultipathConnection, int] = {}  # and the number that the engine knows it by
        self._numbers: dict[int, MultipathConnection] = {}
        self._touched: dict[MultipathConnection, None] = {}
        self._deadlines: dict[MultipathConnection, float] = {}
        self._heap: list[tuple[float, int, MultipathConnection]] = []
        self._serial = count()
        self._handshakes: deque[LongDatagram] = deque()  # that wait for their turn
        self._handshakes_at: float | None = None
        self._turns = HANDSHAKES_AT_ONCE
        self._capsule_streams: dict[MultipathConnection, int] = {}  # of peers that take no DATAGRAM frames
        self._events: list[Any] = []
        self._short_headers: list[ShortHeader] = []
        self._packets: list[bytes] = []
        self._datagrams: list[Datagram] = []

    def handle_events(self, now: float) -> None:
        """Take what the engine has to tell."""
        if not self._handshakes:
            self._turns = HANDSHAKES_AT_ONCE
        for event in self.engine.events():
            self._dispatch(event, now)
        self._settle(now)

    def handle_timeout(self, now: float) -> None:
        """Let every timer fire that is due."""
        while self._heap and self._heap[0][0] <= now:
            at, _, connection = heapq.heappop(self._heap)
            if self._deadlines.get(connection) == at:
                del self._deadlines[connection]
                self.guard(connection, connection.handle_timeout, now)
        self._handle_own_timeout(now)
        self._turns = HANDSHAKES_AT_ONCE
        self._shake_hands(now)
        self._settle(now)

    def next_timeout(self) -> float | None:
        """When handle_timeout() wants to be called; None: no timer runs."""
        while self._heap and self._deadlines.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        first = self._heap[0][0] if self._heap else None
        return min((at for at in (self._own_timeout(), first, self._handshakes_at) if at is not None), default=None)

    def poll(self) -> list[Any]:
        """What the owner should know, oldest first; each event once."""
        events, self._events = self._events, []
        return events

    def short_headers(self) -> list[ShortHeader]:
        """Arguments of Engine.receive_one() for 1-RTT packets; call handle_events() again behind them."""
        kept, self._short_headers = self._short_headers, []
        return kept

    def packets(self) -> list[bytes]:
        """Packets to be written into the TUN device: ICMP errors, and what came in capsules."""
        packets, self._packets = self._packets, []
        return packets

    def datagrams(self) -> list[Datagram]:
        """Datagrams with long headers, to be sent beside the engine's."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def add(self, connection: MultipathConnection) -> None:
        self._connections[connection] = connection.id
        self._numbers[connection.id] = connection
        if self.recorder is not None:
            self.recorder.add(connection)
        self.touch(connection)

    def remove(self, connection: MultipathConnection) -> None:
        """Forget a connection, here and in the engine."""
        self._touched.pop(connection, None)
        self._deadlines.pop(connection, None)
        self._capsule_streams.pop(connection, None)
        number = self._connections.pop(connection, None)
        if number is not None:
            del self._numbers[number]
            if self.recorder is not None:
                self.recorder.remove(connection)
            connection.engine_connection.close()

    def discard(self) -> None:
        """Forget every connection at once; what they still wanted to say is lost."""
        for connection in list(self._connections):
            self.remove(connection)

    def touch(self, connection: MultipathConnection) -> None:
        """Something was done with it: it may have something to send."""
        if connection in self._connections:
            self._touched[connection] = None

    def receive_long(
        self,
        connection: MultipathConnection,
        data: bytes,
        socket: int,
        remote: Endpoint,
        local: Endpoint | None,
        now: float,
    ) -> None:
        """Give a long-header datagram to its connection; 1-RTT packets it sets free join short_headers()."""
        ready = self.guard(connection, connection.receive_long, data, socket, remote, local, now)
        self._short_headers += ready or ()

    def _shake_hands(self, now: float) -> None:
        """Take what came with long headers, as far as there are turns; the rest at once, but behind other packets."""
        while self._handshakes and self._turns:
            self._turns -= 1
            socket, remote, local, data = self._handshakes.popleft()
            self._long_header(socket, remote, local, data, now)
        self._handshakes_at = now if self._handshakes else None

    def guard(self, connection: MultipathConnection, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call into a connection; whatever it raises closes that connection only."""
        self.touch(connection)
        try:
            return call(*arguments)
        except Exception as error:
            self.internal_errors += 1
            log.warning("connection %s is closed: internal error: %r", self._connections.get(connection), error)
            log.debug("where it happened", exc_info=True)
            self._abort(connection)
        return None

    def _abort(self, connection: MultipathConnection) -> None:
        try:
            connection.close(error_code=H3ErrorCode.H3_INTERNAL_ERROR)
        except Exception:
            self._connection_lost(connection, "internal error")
            self.remove(connection)

    def _dispatch(self, event: tuple[Any, ...], now: float) -> None:
        kind = event[0]
        if kind == plane.LONG_HEADER:
            if len(self._handshakes) < MAX_HANDSHAKES:
                _, socket, remote, local, data = event
                self._handshakes.append((socket, remote, local, data))
                self._shake_hands(now)
        elif kind == plane.UNKNOWN:
            _, socket, remote, local, data = event
            self._unknown(socket, remote, local, data, now)
        elif kind == plane.TOO_BIG:
            self._answer(packet_too_big(event[2], event[3]))
        elif kind == plane.UNREACHABLE:
            _, number, packet, reason = event
            self._unreachable(number, packet, reason, now)
        elif kind == plane.PACKET:
            self._packet_for_capsule(event[1], event[2])
        else:
            connection = self._numbers.get(event[1])
            if connection is not None and kind == plane.DATAGRAM:
                self._check_datagram(connection, event[2])
            elif connection is not None:
                if kind == plane.KEY_PHASE and self.recorder is not None:
                    self.recorder.handle_key_phase(connection, event[2])
                self.guard(connection, connection.handle_event, event, now)

    def _unreachable(self, number: int | None, packet: bytes, reason: int, now: float) -> None:
        """Answer a packet of the TUN's, or of the peer's whose connection has this number."""
        answer = unreachable(packet, reason)
        if number is None:
            self._answer(answer)
        elif answer is not None and number in self._numbers:
            batch = PacketBatch()
            batch.append(answer)
            self.engine.to_peer(self._numbers[number].engine_connection, batch, now)

    def _check_datagram(self, connection: MultipathConnection, payload: bytes) -> None:
        """One that the engine dropped: of no open stream, no registered context, or without a Quarter Stream ID.

        RFC 9297, section 2.1: what "includes a larger value MUST be treated as an HTTP/3 connection error of type
        H3_DATAGRAM_ERROR", and so must what is too short for one.
        """
        try:
            is_possible = Reader(payload).varint() <= MAX_QUARTER_STREAM_ID
        except DecodeError:
            is_possible = False
        if not is_possible:
            connection.close(error_code=H3ErrorCode.H3_DATAGRAM_ERROR, reason_phrase="no quarter stream ID")
            self.touch(connection)

    def _answer(self, packet: bytes | None) -> None:
        if packet is not None:
            self._packets.append(packet)

    def send_by_capsules(self, connection: MultipathConnection, stream_id: int) -> None:
        """The peer takes no DATAGRAM frames: IP packets go to it on the request stream (RFC 9297, section 3.5)."""
        self._capsule_streams[connection] = stream_id

    def _packet_for_capsule(self, number: int, packet: bytes) -> None:
        connection = self._numbers.get(number)
        stream_id = self._capsule_streams.get(connection) if connection is not None else None
        if connection is not None and stream_id is not None:
            self._send_capsule(connection, stream_id, compose_datagram(packet))

    def capsule_received(self, connection: MultipathConnection, payload: bytes, now: float) -> None:
        """An HTTP datagram that came in a capsule: packets pass the same checks as in DATAGRAM frames."""
        packet = read_datagram(payload)
        if packet is not None and connection.engine_connection.accept_packet(packet, now):
            self._packets.append(packet)

    def _settle(self, now: float) -> None:
        """Hand on the events of touched connections, collect what they send, renew their timers."""
        while self._touched:
            connection, _ = self._touched.popitem()
            self._drain(connection, now)
            if connection in self._connections:
                self._short_headers += connection.ready_packets()
                self._flush(connection, now)
                self._touched.pop(connection, None)
            self._drain(connection, now)  # flushing may end it
            if self.recorder is not None:
                self.recorder.observe(connection, now)
            if connection.terminated:
                self.remove(connection)

    def _drain(self, connection: MultipathConnection, now: float) -> None:
        while connection in self._connections and (event := connection.next_event()) is not None:
            if self.recorder is not None:
                self.recorder.handle_event(connection, event)
            self.guard(connection, self._quic_event, connection, event, now)

    def _flush(self, connection: MultipathConnection, now: float) -> None:
        self._datagrams += self.guard(connection, connection.flush, now) or ()
        stream_id = self._capsule_streams.get(connection)
        if stream_id is not None and not connection.terminated:
            room = CAPSULE_BYTES - connection.unacknowledged(stream_id)
            connection.engine_connection.set_capsule_room(room)
        at = connection.next_timeout()
        if at is None:
            self._deadlines.pop(connection, None)
        elif at != self._deadlines.get(connection):
            self._deadlines[connection] = at
            heapq.heappush(self._heap, (at, next(self._serial), connection))

    @abstractmethod
    def _long_header(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        """A datagram that begins with a long header: find or make its connection."""

    @abstractmethod
    def _unknown(self, socket: int, remote: Endpoint, local: Endpoint | None, data: bytes, now: float) -> None:
        """A short header with a connection ID that nobody has."""

    @abstractmethod
    def _quic_event(self, connection: MultipathConnection, event: Any, now: float) -> None:
        """An event of aioquic's or of multipath.events."""

    @abstractmethod
    def _send_capsule(self, connection: MultipathConnection, stream_id: int, capsule: bytes) -> None:
        """Write a capsule on the request stream."""

    @abstractmethod
    def _connection_lost(self, connection: MultipathConnection, reason: str) -> None:
        """The connection is gone without an orderly end."""

    @abstractmethod
    def _own_timeout(self) -> float | None:
        """When the subclass's own timers want to fire."""

    @abstractmethod
    def _handle_own_timeout(self, now: float) -> None:
        """Let the subclass's own timers fire."""
