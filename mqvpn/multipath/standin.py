"""What stands in for objects of aioquic, so that its 1-RTT packet layer never runs.

The crypto pair of that epoch hands the secrets over and is never valid: aioquic then neither builds nor opens
a 1-RTT packet. The builder collects the frames that aioquic's writers make for such packets.
"""

from collections.abc import Callable
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilderStop
from aioquic.tls import CipherSuite

Delivered = Callable[[bool], None]  # called once: True when acknowledged, False when lost
SecretHandler = Callable[[bool, CipherSuite, bytes], None]  # is it for sending?, cipher suite, secret


class SecretSink:
    """Stands in for aioquic's CryptoContext of one direction of 1-RTT."""

    def __init__(self, is_send: bool, handler: SecretHandler) -> None:
        self._is_send = is_send
        self._handler = handler

    def setup(self, *, cipher_suite: CipherSuite, secret: bytes, version: int) -> None:
        self._handler(self._is_send, cipher_suite, secret)

    def is_valid(self) -> bool:
        return False


class SecretPair:
    """Stands in for aioquic's CryptoPair of 1-RTT: never valid, so aioquic builds no such packet."""

    aead_tag_size = 16

    def __init__(self, handler: SecretHandler) -> None:
        self.recv = SecretSink(False, handler)
        self.send = SecretSink(True, handler)

    def teardown(self) -> None:
        """The engine owns the keys: nothing to forget here."""


class FrameBuilder:
    """Stands in for QuicPacketBuilder: collects frames and their delivery handlers, makes no packet."""

    packet_number = 0
    quic_logger_frames: list[Any] | None = None

    def __init__(self, size: int) -> None:
        self._buffer = Buffer(capacity=size)
        self._handlers: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    @property
    def remaining_buffer_space(self) -> int:
        return self._buffer.capacity - self._buffer.tell()

    remaining_flight_space = remaining_buffer_space

    @property
    def frames(self) -> bytes:
        return self._buffer.data

    def start_frame(
        self,
        frame_type: int,
        capacity: int = 1,
        handler: Callable[..., None] | None = None,
        handler_args: Any = (),
    ) -> Buffer:
        if self.remaining_buffer_space < capacity:
            raise QuicPacketBuilderStop
        self._buffer.push_uint_var(frame_type)
        if handler is not None:
            self._handlers.append((handler, tuple(handler_args)))
        return self._buffer

    def delivered(self, acked: bool) -> None:
        """Tell aioquic what became of these frames."""
        state = QuicDeliveryState.ACKED if acked else QuicDeliveryState.LOST
        for handler, arguments in self._handlers:
            handler(state, *arguments)
