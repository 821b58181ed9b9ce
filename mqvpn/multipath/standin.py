"""What stands in for objects of aioquic so that its 1-RTT packet layer never runs.

The crypto pair of that epoch hands the secrets over and is never valid: aioquic then neither builds nor opens
a 1-RTT packet. The builder takes the frames that aioquic's writers make for such packets. The table of frame
handlers takes a tenth of the 10 KiB of aioquic's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Self

from mqvpn.wire.buffer import Writer

Handlers = dict[int, tuple[Callable[..., None], frozenset[Any]]]  # of frame types, with the epochs they may come in

SecretHandler = Callable[[bool, int, bytes], None]  # is it for sending?, TLS cipher suite, secret
Deliveries = list[tuple[Callable[..., None], Sequence[Any]]]  # what to call when frames arrived or got lost


class SecretSink:
    """Stands in for the CryptoContext of one direction."""

    def __init__(self, is_send: bool, handler: SecretHandler) -> None:
        self._is_send = is_send
        self._handler = handler

    def setup(self, *, cipher_suite: int, secret: bytes, version: int) -> None:
        self._handler(self._is_send, cipher_suite, secret)

    def is_valid(self) -> bool:
        return False


class SecretPair:
    """Stands in for the CryptoPair of 1-RTT packets."""

    aead_tag_size = 16

    def __init__(self, handler: SecretHandler) -> None:
        self.recv = SecretSink(False, handler)
        self.send = SecretSink(True, handler)

    def teardown(self) -> None:
        """The engine owns the keys: nothing to forget here."""


class FrameTable:
    """The handlers of a connection by frame type, each with the epochs it is allowed in.

    All connections share what is known of aioquic's handlers. `own` are others, which `call` is to call, with the
    arguments of aioquic's behind the handler.
    """

    _known: Final[dict[int, tuple[str, frozenset[Any]]]] = {}

    def __init__(self, quic: Any, theirs: Handlers, call: Callable[..., None], epochs: frozenset[Any]) -> None:
        """epochs: those in which the own ones are allowed."""
        if not self._known:
            self._known.update({number: (handler.__name__, epochs) for number, (handler, epochs) in theirs.items()})
        self._quic, self._call, self._epochs = quic, call, epochs
        self.own: dict[int, Callable[..., None]] = {}

    def __getitem__(self, number: int) -> tuple[Callable[..., None], frozenset[Any]]:
        """Raises KeyError for an unknown frame type."""
        if number in self.own:
            return partial(self._call, self.own[number]), self._epochs
        name, epochs = self._known[number]
        return getattr(self._quic, name), epochs


class BuilderFull(Exception):
    """The next frame does not fit any more."""


class FrameBuilder:
    """Stands in for QuicPacketBuilder, and for the Buffer that its start_frame() returns."""

    packet_number = 0

    def __init__(self, size: int) -> None:
        """size: how many bytes of frames there may be."""
        self._size = size
        self.frames = bytearray()
        self.handlers: Deliveries = []
        self.quic_logger_frames: list[Any] = []  # aioquic notes the frames here while it logs

    @property
    def remaining_buffer_space(self) -> int:
        return self._size - len(self.frames)

    remaining_flight_space = remaining_buffer_space

    def start_frame(
        self,
        frame_type: int,
        capacity: int = 1,
        handler: Callable[..., None] | None = None,
        handler_args: Sequence[Any] = (),
    ) -> Self:
        if self.remaining_buffer_space < capacity:
            raise BuilderFull
        self.push_uint_var(frame_type)
        if handler is not None:
            self.handlers.append((handler, handler_args))
        return self

    def push_uint_var(self, value: int) -> None:
        out = Writer()
        out.varint(value)
        self.frames += bytes(out)

    def push_uint16(self, value: int) -> None:
        self.frames += value.to_bytes(2)

    def push_bytes(self, data: bytes) -> None:
        self.frames += data
