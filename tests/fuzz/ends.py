"""Both ends of a tunnel as targets: the production tunnels, connections and engines in memory, in virtual time.

Before: datagrams of strangers and packets sealed with the keys of Initial and Handshake packets, which every
stranger can have. After: the other end holds the keys, so frames, streams and datagrams of a hostile peer.
A connection whose end was reached is replaced; the history is what the present one was given.
"""

import logging
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Self

from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import Epoch

from mqvpn.multipath.connection import MultipathConnection
from mqvpn.multipath.datagram import _skip_long_header_packet
from mqvpn.tunnel import events
from mqvpn.wire.buffer import Reader, Writer
from tests.fuzz import pieces
from tests.sim.pair import Pair
from tests.tunnel.pair import DELAY, SERVER, Network, is_up

MAX_FRAMES = 1100  # bytes of frames in a packet
RENEWED_AFTER = 300  # inputs
STRANGER = ("203.0.113.9", 999)
STRANGERS_CID = b"strange"  # and one byte


class InternalErrors(logging.Handler):
    """While it is in use, what the guards around connections catch is raised: nothing may get that far."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._caught: list[tuple[str, BaseException | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "internal error" in record.getMessage():
            self._caught.append((record.getMessage(), record.exc_info[1] if record.exc_info else None))

    def __enter__(self) -> Self:
        logging.getLogger("mqvpn").addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("mqvpn").removeHandler(self)
        for message, cause in self._caught:
            raise AssertionError(f"{message}: {cause!r}") from cause


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """For certificates; gone at the end of the process."""
    return tempfile.TemporaryDirectory()


class Ends(ABC):
    """A server and a client of it; `of_server` says which of them is attacked."""

    def __init__(self, *, of_server: bool) -> None:
        self.of_server = of_server
        self.history: list[bytes] = []
        self._ready = False

    def prepare(self) -> None:
        """Make new ends if need be; not part of the measured time."""
        if self._ready and len(self.history) < RENEWED_AFTER and not self.used_up():
            return
        self.history.clear()
        self.network = Network(Path(folder().name))
        self.client = self.network.client(2)
        self.server = self.network.server
        self.target, self.peer = (self.server, self.client) if self.of_server else (self.client, self.server)
        self.begin()
        self._ready = True

    def __call__(self, data: bytes) -> None:
        self.prepare()
        row = pieces.split(data)
        self.history.append(pieces.join(row))
        with InternalErrors():
            for kind, payload in row:
                if self.used_up():
                    break
                self.play(kind, payload)

    @abstractmethod
    def begin(self) -> None:
        """Bring the ends to where the attack begins."""

    @abstractmethod
    def used_up(self) -> bool:
        """Whether the attacked connection is over."""

    @abstractmethod
    def play(self, kind: int, payload: bytes) -> None:
        """One piece of input."""

    def inject(self, data: bytes, remote: tuple[str, int]) -> None:
        if data:
            self.network.inject(self.target, data, remote)


class After(Ends):
    """The tunnel is up, over two paths."""

    def begin(self) -> None:
        self.network.start(self.client)
        assert self.network.run_until(lambda: is_up(self.client) and bool(self.client.of(events.PathUp)), 5.0)
        self.network.run(0.2)
        client = self.client.tunnel.connection  # type: ignore[attr-defined]
        server = self.server.tunnel.clients[0].connection  # type: ignore[attr-defined]
        self.attacked, self.attacker = (server, client) if self.of_server else (client, server)
        self._last_stream = 0

    def used_up(self) -> bool:
        return any(quic.has_ended or quic.close_pending for quic in (self.attacked, self.attacker))

    def play(self, kind: int, payload: bytes) -> None:
        quic: MultipathConnection = self.attacker
        match kind % 8:
            case 0 | 1 as path_id if payload and quic.engine_connection.room() > MAX_FRAMES:
                if path_id in quic.paths and quic.paths[path_id].is_live:
                    quic.engine_connection.send(payload[:MAX_FRAMES], path_id=path_id)
            case 2 if payload:
                first = 0x40 | payload[0] & 0x3F
                self.inject(bytes([first]) + self.attacked.host_cid + payload[1:], STRANGER)
            case 3:
                self.inject(payload, STRANGER)
            case 4:
                self._stream(0, payload)
            case 5 | 6 as form:
                unidirectional = form == 6
                self._stream(quic.get_next_available_stream_id(is_unidirectional=unidirectional), payload)
            case 7:
                self.network.run((payload[0] if payload else 1) / 64)
        self.peer.tunnel.touch(quic)
        self.peer.tunnel.handle_timeout(self.network.now)
        self.network.settle(self.peer)
        self.network.run(0.03)

    def _stream(self, stream_id: int, payload: bytes) -> None:
        """The first byte: does the stream end behind the rest, and (2) is it the one of the piece before."""
        if not payload:
            return
        if payload[0] & 2:
            stream_id = self._last_stream
        self._last_stream = stream_id
        with suppress(AssertionError, ValueError, RuntimeError):  # a stream that has ended takes no more
            self.attacker.send_stream_data(stream_id, payload[1:], bool(payload[0] & 1))


class Before(Ends):
    """The client sent its first flight and has the server's Initial; the server waits for Finished."""

    def begin(self) -> None:
        network = self.network
        network.start(self.client)
        self._numbers = count(100)
        client: Any = next(iter(self.client.tunnel._connections))
        self._initial_cid = client.peer_connection_id
        self._step()
        server: Any = next(iter(self.server.tunnel._connections))
        if not self.of_server:
            network._flying = [(*flying[:-1], _without_handshake(flying[-1])) for flying in network._flying]
        network.dead.add(self.client.address)
        self._step()
        self.attacked, self.attacker = (server, client) if self.of_server else (client, server)

    def used_up(self) -> bool:
        return bool(self.attacked.has_ended or self.attacked.close_pending)

    def play(self, kind: int, payload: bytes) -> None:
        match kind % 4:
            case 0:
                self.inject(payload, STRANGER if self.of_server else SERVER)
            case 1 if self.of_server:
                cid = STRANGERS_CID + bytes(payload[:1])
                self.inject(self._sealed(Epoch.INITIAL, payload[1:], cid, cid), STRANGER)
            case 1 | 2:
                sealed = self._sealed(Epoch.INITIAL, payload, self.attacked.host_cid, self._initial_cid)
                self.inject(sealed, self.peer.address)
            case 3:
                self.inject(self._sealed(Epoch.HANDSHAKE, payload, self.attacked.host_cid), self.peer.address)

    def _step(self) -> None:
        self.network.now += DELAY
        self.network._deliver()

    def _sealed(self, epoch: Epoch, frames: bytes, destination: bytes, initial: bytes = b"") -> bytes:
        """A datagram with one Initial or Handshake packet of the attacker's (RFC 9000, section 17.2)."""
        number, out = next(self._numbers), Writer()
        keys: CryptoPair = self.attacker._cryptos[epoch]
        if epoch == Epoch.INITIAL:
            keys = CryptoPair()
            keys.setup_initial(initial, self.of_server, QuicProtocolVersion.VERSION_1)
        frames = frames[:MAX_FRAMES] + bytes(max(0, 4 - len(frames)))
        out.write(bytes([0xC1 if epoch == Epoch.INITIAL else 0xE1, 0, 0, 0, 1]))
        for cid in (destination, self.attacker.host_cid):
            out.uint8(len(cid))
            out.write(cid)
        if epoch == Epoch.INITIAL:
            out.varint(0)  # no token
        out.write((0x4000 + 2 + len(frames) + 16).to_bytes(2) + number.to_bytes(2))
        return keys.encrypt_packet(bytes(out), frames, number).ljust(1200, b"\0")


def _without_handshake(datagram: bytes) -> bytes:
    """Only the Initial packet of a datagram."""
    source = Reader(datagram)
    _skip_long_header_packet(source)
    return datagram[: source.position].ljust(len(datagram), b"\0")


class Parameters:
    """Handshakes whose peer adds these transport parameters to its own; the first byte says who the peer is."""

    def __call__(self, data: bytes) -> None:
        pair = Pair()
        of_client, parameters = bool((data[:1] or b"\0")[0] & 1), data[1:600]
        if of_client:
            _with_parameters(pair.c, parameters)
        else:
            make = pair.server.make
            assert make is not None
            pair.server.make = lambda initial: _with_parameters(make(initial), parameters)
        with InternalErrors():
            pair.connect(0.5)


def _with_parameters(quic: MultipathConnection, parameters: bytes) -> MultipathConnection:
    quic.extra_transport_parameters = lambda: parameters  # type: ignore[method-assign]
    return quic
